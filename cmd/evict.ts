import type { EvictResult } from '../lib/control/actions.js'
import { printable } from '../lib/log/log.js'
import { eachFile, showFacts } from './each-file.js'
import type { Command } from './help.js'
import { SOURCE_OPTIONS } from './options.js'
import { showSize } from './units.js'

/** `annexfs evict PATH...` */
export const evictCommand: Command = {
  name: 'evict',
  summary: 'take files out of the cache',
  usage: ['PATH... (inside a mount)', 'SOURCE PATH... [options]'],
  description:
    'Forgets what is cached of the files, to make room; reading them fetches it again. A pinned file is refused. Of a ' +
    'torrent, pieces that reach into a neighbouring file go, too.',
  options: SOURCE_OPTIONS,
  run: (given) =>
    eachFile('evict', given, async (target, path, signal) => {
      const result = (await target.actor.request('evict', { path }, { signal })) as EvictResult
      return `evicted ${showSize(result.evictedBytes)}  ${printable(path)}  ${showFacts(result)}`
    }),
}
