import type { FileFacts, Progress } from '../lib/control/actions.js'
import { AnnexfsError } from '../lib/errors.js'
import { printable } from '../lib/log/log.js'
import type { ByteRange } from '../lib/space/space.js'
import { eachFile, showFacts } from './each-file.js'
import type { Command } from './help.js'
import { SOURCE_OPTIONS } from './options.js'
import { progressBars } from './progress.js'
import type { Target } from './targets.js'
import { parseSize } from './units.js'

/** `annexfs prefetch PATH...` */
export const prefetchCommand: Command = {
  name: 'prefetch',
  summary: 'fetch files, or a range of them, into the cache',
  usage: ['PATH... [--range A-B] (inside a mount)', 'SOURCE PATH... [--range A-B] [options]'],
  description:
    'Fetches what is missing, behind everybody who reads, and returns when it is there; what is complete then is checked ' +
    'as far as that can be (exit code 5 when it was wrong). Of a folder all files in it are fetched. It is evicted like ' +
    'everything else unless it is pinned.',
  options: [
    { name: 'range', value: 'A-B', help: 'only the bytes from A up to, and without, B; without B to the end' },
    ...SOURCE_OPTIONS,
  ],
  async run(given) {
    const range = parseRange(given.get('range') ?? '0-')
    const bars = progressBars()
    try {
      const fetch = async (target: Target, path: string, signal: AbortSignal): Promise<string> => {
        const bar = bars.start(printable(path))
        try {
          const event = (value: unknown): void => {
            const { done, total } = value as Progress
            bar.update(done, total)
          }
          const params = { path, start: range.start, ...(range.end < Infinity && { end: range.end }) }
          const facts = (await target.actor.request('prefetch', params, { signal, event })) as FileFacts
          return `fetched  ${printable(path)}  ${showFacts(facts)}`
        } finally {
          bar.stop()
        }
      }
      return await eachFile('prefetch', given, fetch, bars)
    } finally {
      bars.close()
    }
  },
}

/** `0-1MiB`, `5GB-`. @throws AnnexfsError USAGE. */
export function parseRange(text: string): ByteRange {
  const [, from = '', to = ''] = /^([^-]+)-([^-]*)$/.exec(text) ?? []
  if (from === '')
    throw new AnnexfsError('USAGE', `--range wants a range such as 0-1MiB or 5GB-, not ${JSON.stringify(text)}`)
  const start = parseSize('--range', from)
  const end = to === '' ? Infinity : parseSize('--range', to)
  if (end < start) throw new AnnexfsError('USAGE', `--range ${text} ends before it starts`)
  return { start, end }
}
