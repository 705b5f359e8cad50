import { AnnexfsError } from '../lib/errors.js'
import { printable, printableJson } from '../lib/log/log.js'
import { parseMagnet } from '../lib/torrent/magnet.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import type { TorrentFacts } from './torrent-facts.js'
import { magnetLink } from './torrent-link.js'
import { readFacts } from './torrent-read.js'
import { showSize } from './units.js'

/** `annexfs torrent info FILE...` */
export const torrentInfoCommand: Command = {
  name: 'torrent info',
  summary: 'show all that a .torrent file or magnet link says',
  usage: ['FILE|MAGNET... [--json]'],
  description:
    'Shows name, infohash (of hybrid torrents both), sizes, pieces, trackers by tier, web seeds, DHT nodes, what else ' +
    'the metainfo says, a magnet link, and the files with their lengths. FILE - is standard input. Asks nobody: of a ' +
    'magnet link only the link itself is shown. Names are shown as a mount shows them, control characters as \\xNN.',
  options: [{ name: 'json', help: 'an object for each FILE, one a line' }],
  async run(given) {
    if (given.positional.length === 0) throw new AnnexfsError('USAGE', 'torrent info wants a FILE or MAGNET')
    for (const [index, path] of given.positional.entries()) {
      if (/^magnet:/i.test(path)) {
        const magnet = parseMagnet(path)
        process.stdout.write(given.has('json') ? `${printableJson(magnet)}\n` : linkText(magnet))
        continue
      }
      const facts = await readFacts(path)
      const magnet = magnetLink(facts, { trackers: true, webSeeds: true })
      if (given.has('json')) process.stdout.write(`${printableJson({ ...facts, magnet })}\n`)
      else process.stdout.write(`${index > 0 ? '\n' : ''}${factsText(facts, magnet)}`)
    }
    return EXIT.ok
  },
}

const INDENT = 13
/** Longer texts of strangers are cut; --json has more of them. */
const LONGEST_TEXT = 1000

function factsText(facts: TorrentFacts, magnet: string): string {
  const rows: string[] = []
  const row = (name: string, value: string | undefined): void => {
    if (value === undefined) return
    const cut = value.length > LONGEST_TEXT ? `${value.slice(0, LONGEST_TEXT)}…` : value
    rows.push(`${`${name}:`.padEnd(INDENT)}${printable(cut)}\n`)
  }
  const list = (name: string, values: readonly string[]): void => {
    for (const [index, value] of values.entries()) {
      rows.push(`${(index === 0 ? `${name}:` : '').padEnd(INDENT)}${printable(value)}\n`)
    }
  }
  const last = facts.paddedLength - (facts.pieces - 1) * facts.pieceLength
  const rest =
    facts.version !== 'v2' && last < facts.pieceLength && facts.pieces > 0 ? `, the last ${showSize(last)}` : ''
  row('name', facts.name)
  row(
    'version',
    { v1: 'v1', v2: 'v2 (BEP 52; annexfs cannot mount it yet)', hybrid: 'v1 and v2 (hybrid)' }[facts.version],
  )
  row('infohash', facts.infohash)
  row('infohash v2', facts.infohashV2)
  row('size', `${facts.length} bytes (${showSize(facts.length)}) in ${count(facts.files.length, 'file')}`)
  row('padding', facts.paddedLength > facts.length ? `${facts.paddedLength - facts.length} bytes` : undefined)
  row('pieces', `${facts.pieces} of ${showSize(facts.pieceLength)}${rest}`)
  row('private', facts.private ? 'yes: peers only from its trackers' : 'no')
  const date = facts.createdAt === undefined ? undefined : new Date(facts.createdAt).toISOString().replace('.000Z', 'Z')
  row('created', date)
  row('created by', facts.createdBy)
  row('comment', facts.comment)
  row('source', facts.source)
  row('encoding', facts.encoding)
  list(
    'trackers',
    facts.trackers.flatMap((tier, index) => tier.map((url) => `${`tier ${index + 1}`.padEnd(8)}${url}`)),
  )
  list('web seeds', facts.webSeeds)
  list(
    'DHT nodes',
    facts.nodes.map(({ host, port }) => `${host}:${port}`),
  )
  // Whole, however long: it is there to be copied.
  list('magnet', [magnet])
  rows.push('files:\n')
  const width = Math.max(...facts.files.map((file) => String(file.length).length), 1)
  for (const file of facts.files) {
    const notes = file.link === undefined ? '' : ` -> ${printable(file.link)}`
    rows.push(`  ${String(file.length).padStart(width)}  ${printable(file.path)}${notes}\n`)
  }
  return rows.join('')
}

function linkText(magnet: ReturnType<typeof parseMagnet>): string {
  const rows: readonly (readonly [string, readonly string[]])[] = [
    ['name', magnet.displayName === undefined ? [] : [magnet.displayName]],
    ['infohash', [magnet.infohash]],
    ['trackers', magnet.trackers],
    ['web seeds', magnet.webSeeds],
    ['peers', magnet.peers],
    ['metainfo at', magnet.exactSources],
  ]
  return rows
    .flatMap(([name, values]) =>
      values.map((value, index) => `${(index === 0 ? `${name}:` : '').padEnd(INDENT)}${printable(value)}\n`),
    )
    .join('')
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
