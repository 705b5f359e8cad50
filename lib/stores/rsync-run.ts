import { spawn } from 'node:child_process'
import { abortError, AnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import { plainEnvironment } from '../git/environment.js'
import { killGroup } from '../git/process.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { started } from '../started.js'

export interface RsyncEnd {
  readonly code: number | null
  readonly output: string
  readonly complaint: string
}

export interface RsyncOptions {
  /** For messages. */
  readonly what: string
  readonly signal: AbortSignal
  /** Called now and then while it runs; ends it by throwing. */
  readonly watch?: () => Promise<void>
}

const WATCH_EVERY: Milliseconds = 200
const LONGEST_OUTPUT: Bytes = 64 * 1024

/**
 * Runs the user's rsync to its end. It alone is given RSYNC_PASSWORD; it has no terminal to ask on.
 * @throws AnnexfsError SYSTEM when it cannot be run, TIMED_OUT, ABORTED by the signal, INVALID when it prints too much;
 * what `watch` throws.
 */
export async function runRsync(args: readonly string[], { what, signal, watch }: RsyncOptions): Promise<RsyncEnd> {
  throwIfAborted(signal)
  const password = process.env['RSYNC_PASSWORD']
  const env = {
    ...plainEnvironment(),
    ...(password === undefined ? {} : { RSYNC_PASSWORD: password }),
    LC_ALL: 'C.UTF-8',
  }
  const child = started(spawn('rsync', args, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true }), 'rsync')
  let stop: Error | undefined
  const end = (error: unknown): void => {
    stop ??= error instanceof Error ? error : new AnnexfsError('SYSTEM', reasonOf(error))
    killGroup(child)
  }
  const onAbort = (): void => end(abortError(signal))
  signal.addEventListener('abort', onAbort)
  const texts = { output: '', complaint: '' }
  const take = (name: keyof typeof texts) => (chunk: Buffer) => {
    texts[name] += chunk.toString('latin1')
    if (texts[name].length > LONGEST_OUTPUT) end(new AnnexfsError('INVALID', `${what} printed too much`))
  }
  child.stdout.on('data', take('output'))
  child.stderr.on('data', take('complaint'))
  let looking = false
  const timer = setInterval(() => {
    if (watch === undefined || looking) return
    looking = true
    watch()
      .catch(end)
      .finally(() => (looking = false))
      .catch(end)
  }, WATCH_EVERY)
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    if (stop !== undefined) throw stop
    return { code, ...texts }
  } catch (error) {
    if (error instanceof AnnexfsError) throw error
    const hint = 'Is rsync installed and in the PATH?'
    throw new AnnexfsError('SYSTEM', `cannot run ${what}: ${reasonOf(error)}. ${hint}`, { cause: error })
  } finally {
    clearInterval(timer)
    signal.removeEventListener('abort', onAbort)
  }
}
