import { AnnexfsError } from '../lib/errors.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import { magnetLink } from './torrent-link.js'
import { readFacts } from './torrent-read.js'

/** `annexfs torrent magnet FILE...` */
export const torrentMagnetCommand: Command = {
  name: 'torrent magnet',
  summary: 'print the magnet link of a .torrent file',
  usage: ['FILE... [--no-trackers] [--no-webseeds]'],
  description:
    'Prints a magnet link for each FILE, one a line: infohash (xt), name (dn), length (xl), trackers (tr), web seeds ' +
    '(ws). FILE - is standard input.',
  options: [
    { name: 'no-trackers', help: 'leave the trackers out: for a link without keys of yours in their URLs, say' },
    { name: 'no-webseeds', help: 'leave the web seeds out' },
  ],
  async run(given) {
    if (given.positional.length === 0) throw new AnnexfsError('USAGE', 'torrent magnet wants a FILE')
    const parts = { trackers: !given.has('no-trackers'), webSeeds: !given.has('no-webseeds') }
    for (const path of given.positional) process.stdout.write(`${magnetLink(await readFacts(path), parts)}\n`)
    return EXIT.ok
  },
}
