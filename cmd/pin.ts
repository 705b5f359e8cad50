import type { FileFacts } from '../lib/control/actions.js'
import { printable } from '../lib/log/log.js'
import { eachFile, showFacts } from './each-file.js'
import type { Command } from './help.js'
import { SOURCE_OPTIONS } from './options.js'

const USAGE = ['PATH... (inside a mount)', 'SOURCE PATH... [options]']

/** `annexfs pin PATH...` */
export const pinCommand: Command = {
  name: 'pin',
  summary: 'keep files in the cache',
  usage: USAGE,
  description:
    'What is cached of a pinned file, now or later, is not evicted to make room for others. It fetches nothing: ' +
    'annexfs prefetch does. Pins stay until annexfs unpin, and hold for everything that uses the same cache; all together ' +
    'may take three quarters of it. Of a folder all files in it are pinned.',
  options: SOURCE_OPTIONS,
  run: (given) =>
    eachFile('pin', given, async (target, path, signal) => {
      const facts = (await target.actor.request('pin', { path }, { signal })) as FileFacts
      return `${facts.pinned ? 'pinned' : 'not pinned'}  ${printable(path)}  ${showFacts(facts)}`
    }),
}

/** `annexfs unpin PATH...` */
export const unpinCommand: Command = {
  name: 'unpin',
  summary: 'let pinned files be evicted again',
  usage: USAGE,
  description: 'Takes back what annexfs pin said. What is cached stays until its room is needed.',
  options: SOURCE_OPTIONS,
  run: (given) =>
    eachFile('unpin', given, async (target, path, signal) => {
      const facts = (await target.actor.request('unpin', { path }, { signal })) as FileFacts
      return `unpinned  ${printable(path)}  ${showFacts(facts)}`
    }),
}
