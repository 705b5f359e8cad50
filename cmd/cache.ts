import { checkCache, clearCache, inspectCache } from '../lib/cache/inspect.js'
import { AnnexfsError } from '../lib/errors.js'
import { freeSpace } from '../lib/cache/free-space.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import { cacheFolder, SOURCE_OPTIONS } from './options.js'
import { parseSize, showSize } from './units.js'

/** `annexfs cache info|check|clear` */
export const cacheCommand: Command = {
  name: 'cache',
  summary: 'show, check or empty the cache',
  usage: ['info|check|clear [--cache-dir DIR]'],
  description:
    'info: what is in the cache, and what is free on its disk. check: reads all of it again, forgets every piece whose checksum is wrong and removes ' +
    'what does not belong; exit code 5 when something was wrong. clear: removes all of it (mounts that use it go on, ' +
    'and fetch again).',
  options: SOURCE_OPTIONS.filter(({ name }) => name === 'cache-dir' || name === 'min-free' || name === 'config'),
  async run(given) {
    const [action, ...rest] = given.positional
    if (rest.length > 0) throw new AnnexfsError('USAGE', 'cache wants one of info, check, clear')
    const folder = cacheFolder(given)
    if (action === 'info') {
      const report = await inspectCache(folder)
      const [free, minFree] = [await freeSpace(folder), parseSize('--min-free', given.get('min-free') ?? '')]
      const low = free + report.usedBytes < minFree
      const why = low ? `, and --min-free is ${showSize(minFree)}: nothing can be cached` : ''
      process.stdout.write(
        `folder   ${folder}\ncontents ${report.spaces}\npieces   ${report.pieces}\nbytes    ${report.usedBytes} (${showSize(report.usedBytes)})\n` +
          `free     ${showSize(free)} on its disk${why}\n`,
      )
      return EXIT.ok
    }
    if (action === 'check') {
      const controller = new AbortController()
      process.once('SIGINT', () => controller.abort())
      const report = await checkCache(folder, controller.signal)
      process.stdout.write(
        `checked ${report.pieces} pieces of ${report.spaces} contents (${showSize(report.usedBytes)}): ` +
          `${report.badPieces} bad pieces forgotten, ${report.removedSpaces} damaged contents and ${report.strangers} strange files removed\n`,
      )
      return report.badPieces + report.removedSpaces + report.strangers > 0 ? EXIT.corrupt : EXIT.ok
    }
    if (action === 'clear') {
      await clearCache(folder)
      process.stdout.write(`cleared ${folder}\n`)
      return EXIT.ok
    }
    throw new AnnexfsError('USAGE', `cache wants one of info, check, clear, not ${JSON.stringify(action ?? '')}`)
  },
}
