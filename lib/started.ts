import type { ChildProcess } from 'node:child_process'
import { AnnexfsError } from './errors.js'

/**
 * A child process just made by `spawn`, whose pipes can be used. When no file descriptors are left there are none, and
 * what touched them would end this process instead of that one.
 * @throws AnnexfsError SYSTEM when there are no pipes.
 */
export function started<C extends ChildProcess>(child: C, program: string): C {
  const stdio: unknown = child.stdio
  if (stdio !== undefined) return child
  // Told by what is thrown here.
  child.once('error', () => undefined)
  throw new AnnexfsError('SYSTEM', `cannot start ${program}: too many files are open; raise the limit (ulimit -n)`)
}
