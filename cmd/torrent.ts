import { AnnexfsError } from '../lib/errors.js'
import type { Command } from './help.js'
import { torrentCreateCommand } from './torrent-create.js'
import { torrentDownloadCommand } from './torrent-download.js'
import { torrentInfoCommand } from './torrent-info.js'
import { torrentMagnetCommand } from './torrent-magnet.js'

const SUBCOMMANDS: readonly Command[] = [
  torrentInfoCommand,
  torrentMagnetCommand,
  torrentCreateCommand,
  torrentDownloadCommand,
]

/** `annexfs torrent info|magnet|create|download` */
export const torrentCommand: Command = {
  name: 'torrent',
  summary: 'show, make and download torrents',
  usage: ['info|magnet|create|download ...'],
  description: 'Works on .torrent files and magnet links. annexfs torrent COMMAND --help tells the rest.',
  options: [],
  subcommands: SUBCOMMANDS,
  run(given) {
    const names = SUBCOMMANDS.map((one) => one.name.slice('torrent '.length)).join(', ')
    const [name] = given.positional
    const not = name === undefined ? '' : `, not ${JSON.stringify(name)}`
    throw new AnnexfsError('USAGE', `torrent wants one of ${names}${not}`)
  },
}
