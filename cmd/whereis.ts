import type { Place, Whereabouts } from '../lib/engine/whereabouts.js'
import { printable } from '../lib/log/log.js'
import type { Command } from './help.js'
import { eachFile } from './each-file.js'
import { SOURCE_OPTIONS } from './options.js'
import { countOf, showSize } from './units.js'

/** `annexfs whereis PATH...` */
export const whereisCommand: Command = {
  name: 'whereis',
  summary: 'tell where the content of files is',
  usage: ['PATH... [--json] (inside a mount)', 'SOURCE PATH... [--json] [options]'],
  description:
    'Tells which remotes, URLs, torrents and peers have the content, by the records of the repository or torrent (nobody ' +
    'is asked), with trust and cost where git-annex has them; what is cached, how sure that is; and the manifest.',
  options: [{ name: 'json', help: 'for programs: one line of JSON a file' }, ...SOURCE_OPTIONS],
  run: (given) =>
    eachFile('whereis', given, async (target, path, signal) => {
      const found = (await target.actor.request('whereis', { path }, { signal })) as Whereabouts
      return given.has('json') ? JSON.stringify(found) : shown(found)
    }),
}

function shown({ path, size, key, infohash, cached, verified, places, manifest }: Whereabouts): string {
  const usable = places.filter((place) => place.unusable === undefined)
  const total = size === undefined ? 'of unknown size' : `of ${showSize(size)}`
  const sure = { none: '', pending: ', not checked yet', piece: ', each piece checked', whole: ', checked whole' }[
    verified
  ]
  const lines = [
    `${path} (${countOf(usable.length, 'place')})`,
    ...(key === undefined ? [] : [`  key      ${key}`]),
    ...(infohash === undefined ? [] : [`  torrent  ${infohash}`]),
    ...(manifest === undefined
      ? []
      : [`  manifest ${manifest.infohash}, ${manifest.pieces} pieces of ${showSize(manifest.pieceLength)}`]),
    `  at hand  ${showSize(cached)} ${total}${sure}`,
    ...(places.length === 0 ? ['  from     nowhere that is recorded'] : places.map(placeLine)),
  ]
  return lines.map((line) => printable(line)).join('\n')
}

function placeLine({ name, cost, trust, unusable }: Place): string {
  if (unusable !== undefined) return `  -        ${name}: ${unusable}`
  const facts = [cost === undefined ? '' : `cost ${cost}`, trust ?? ''].filter((fact) => fact !== '').join(', ')
  return `  from     ${name}${facts === '' ? '' : `  [${facts}]`}`
}
