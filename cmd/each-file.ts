import type { FileFacts } from '../lib/control/actions.js'
import { isAnnexfsError, reasonOf } from '../lib/errors.js'
import { EXIT, exitCodeOf } from './exit-codes.js'
import type { Given } from './options.js'
import type { Bars } from './progress.js'
import { complain } from './tell.js'
import { filesOf, withTargets, type Target } from './targets.js'
import { showSize } from './units.js'

const PLAIN: Pick<Bars, 'say'> = {
  say: (line) => {
    process.stdout.write(`${line}\n`)
  },
}

/** Does something to each file that the arguments mean; one that fails is told of, and the others are done. */
export async function eachFile(
  command: string,
  given: Given,
  act: (target: Target, path: string, signal: AbortSignal) => Promise<string>,
  terminal: Pick<Bars, 'say'> = PLAIN,
): Promise<number> {
  return withTargets(command, given, async (targets, signal) => {
    let code: number = EXIT.ok
    for (const target of targets) {
      for (const path of await filesOf(target, signal)) {
        try {
          terminal.say(await act(target, path, signal))
        } catch (error) {
          if (signal.aborted || isAnnexfsError(error, 'USAGE')) throw error
          complain(`${path}: ${reasonOf(error)}`)
          if (code !== EXIT.corrupt) code = exitCodeOf(error)
        }
      }
    }
    return code
  })
}

/** `12.0 MiB of 80.0 MiB cached, checked whole`. */
export function showFacts({ size, cached, verified, inPlace }: FileFacts): string {
  if (inPlace) return `${showSize(size)}, read in place: the cache has no part in it`
  const sure = { none: '', pending: ', not checked yet', piece: ', each piece checked', whole: ', checked whole' }[
    verified
  ]
  return `${showSize(cached)} of ${showSize(size)} cached${sure}`
}
