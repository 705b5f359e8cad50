import { abortError, AnnexfsError, throwIfAborted } from '../errors.js'
import type { Log } from '../log/log.js'
import { oneLine } from '../log/one-line.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { LineProgram } from './external-process.js'

export interface RunAnnexOptions {
  readonly program: string
  /** For messages. */
  readonly name: string
  readonly args: readonly string[]
  /** A line for its standard input, bytes as latin1. */
  readonly input?: string
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  readonly guard: string | undefined
  /** It is ended when it has not moved for so long. */
  readonly patience: Milliseconds
  readonly signal: AbortSignal
  readonly progress?: (bytes: Bytes) => void
  readonly log: Log
}

export interface AnnexOutcome {
  readonly success: boolean
  /** Whether it said anything of it; otherwise there was nothing that it believed to have to do. */
  readonly told: boolean
  /** What it said of why not, for a message. */
  readonly messages: string
}

const LONGEST_MESSAGE = 500

/**
 * Runs one git-annex command to its end; with `--json --json-progress` its progress is told, and what it says of its
 * success is believed rather than its exit code. Settles only when the process is gone.
 * @throws AnnexfsError TIMED_OUT, ABORTED; UNAVAILABLE when it cannot be started or is killed.
 */
export async function runAnnex(options: RunAnnexOptions): Promise<AnnexOutcome> {
  const { signal, name, patience } = options
  throwIfAborted(signal)
  let success: boolean | undefined
  let messages = ''
  let most = -1
  let timer: NodeJS.Timeout | undefined
  const onLine = (line: string): void => {
    const said = parse(line)
    if (said === undefined) return
    const bytes = said['byte-progress']
    if (typeof bytes === 'number' && Number.isSafeInteger(bytes) && bytes >= 0) {
      options.progress?.(bytes)
      if (bytes > most) timer?.refresh()
      most = Math.max(most, bytes)
    }
    if (typeof said['success'] === 'boolean') success = said['success']
    const complaints: unknown = said['error-messages']
    if (Array.isArray(complaints)) {
      messages = complaints
        .filter((text) => typeof text === 'string')
        .map(oneLine)
        .filter((text) => text !== '')
        .join('; ')
        .slice(0, LONGEST_MESSAGE)
    }
  }
  const process = new LineProgram({ ...options, onLine }, options.guard)
  timer = setTimeout(() => {
    process.kill(new AnnexfsError('TIMED_OUT', `${name} did not move for ${patience} ms`))
  }, patience)
  const aborted = (): void => process.kill(abortError(signal))
  signal.addEventListener('abort', aborted, { once: true })
  try {
    if (options.input !== undefined) process.write(options.input)
    process.closeInput()
    const reason = await process.ended
    if (process.killed) throw reason
    if (process.exitCode === undefined) throw reason
    return {
      success: success ?? process.exitCode === 0,
      told: success !== undefined,
      messages: joined(messages, process.complaint, reason.message),
    }
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', aborted)
  }
}

/** What git-annex says of a failure, and the programs that it runs, which often say more of it. */
function joined(messages: string, complaint: string, otherwise: string): string {
  if (messages === '') return otherwise
  return complaint === '' || messages.includes(complaint) ? messages : `${messages} (${complaint})`
}

function parse(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const value: unknown = JSON.parse(Buffer.from(line, 'latin1').toString('utf8'))
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    // Not meant for us: some programs that git-annex runs print what they like.
    return undefined
  }
}
