import { AnnexfsError } from '../lib/errors.js'
import type { Command } from './help.js'

const SUBCOMMANDS: readonly Command[] = []

/** `annexfs torrent info|magnet|create|download` */
export const torrentCommand: Command = {
  name: 'torrent',
  summary: 'show, make and download torrents',
  usage: ['info|magnet|create|download ...'],
  description: 'Works on metainfo (.torrent files) and magnet links. annexfs torrent COMMAND --help tells the rest.',
  options: [],
  subcommands: SUBCOMMANDS,
  run() {
    const names = SUBCOMMANDS.map((one) => one.name.slice('torrent '.length)).join(', ')
    throw new AnnexfsError('USAGE', `torrent wants one of ${names}`)
  },
}
