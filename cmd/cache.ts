import { checkCache, clearCache, inspectCache } from '../lib/cache/inspect.js'
import { AnnexfsError } from '../lib/errors.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import { cacheFolder, SOURCE_OPTIONS } from './options.js'
import { showSize } from './units.js'

/** `annexfs cache info|check|clear` */
export const cacheCommand: Command = {
  name: 'cache',
  summary: 'show, check or empty the cache',
  usage: ['info|check|clear [--cache-dir DIR]'],
  description:
    'info: what is in the cache. check: reads all of it again, forgets every piece whose checksum is wrong and removes ' +
    'what does not belong; exit code 5 when something was wrong. clear: removes all of it (mounts that use it go on, ' +
    'and fetch again).',
  options: SOURCE_OPTIONS.filter(({ name }) => name === 'cache-dir' || name === 'config'),
  async run(given) {
    const [action, ...rest] = given.positional
    if (rest.length > 0) throw new AnnexfsError('USAGE', 'cache wants one of info, check, clear')
    const folder = cacheFolder(given)
    if (action === 'info') {
      const report = await inspectCache(folder)
      process.stdout.write(
        `folder   ${folder}\ncontents ${report.spaces}\npieces   ${report.pieces}\nbytes    ${report.usedBytes} (${showSize(report.usedBytes)})\n`,
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
