/**
 * The one error class of annexfs. `code` is stable and is what programs (and the errno table in lib/fuse) look at;
 * the message says what was tried, on what, why it failed and what the user can do.
 */
export type ErrorCode =
  /** The name is not there. */
  | 'NOT_FOUND'
  /** The name is there but is not of the kind that was needed (a folder was read, a file was listed). */
  | 'NOT_A_DIRECTORY'
  | 'IS_A_DIRECTORY'
  /** Content cannot be had: no source has it, or all that have it failed. */
  | 'UNAVAILABLE'
  /** The deadline of the operation has passed. */
  | 'TIMED_OUT'
  /** The bytes that came are not the bytes that were asked for. */
  | 'CORRUPT'
  /** Policy forbids it (address, scheme, size, verification). */
  | 'FORBIDDEN'
  /** What may be fetched (`--budget`) was spent. */
  | 'OVER_BUDGET'
  /** Input that we refuse: malformed, hostile or not supported. */
  | 'INVALID'
  | 'UNSUPPORTED'
  /** The caller gave up. */
  | 'ABORTED'
  /** The system under us failed (disk, process, permission). */
  | 'SYSTEM'
  /** The command line is wrong. */
  | 'USAGE'

export class AnnexfsError extends Error {
  readonly code: ErrorCode
  /** The errors of the single attempts, where several were made. */
  readonly attempts: readonly Attempt[]
  /** It stays so until somebody does something about it: asking again in a moment cannot help. */
  readonly lasting: boolean
  /** In how many milliseconds it will go well, where that is known. */
  readonly retryAfter: number | undefined

  constructor(code: ErrorCode, message: string, options: ErrorDetails = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'AnnexfsError'
    this.code = code
    this.attempts = options.attempts ?? []
    this.lasting = options.lasting ?? ['FORBIDDEN', 'INVALID', 'UNSUPPORTED'].includes(code)
    this.retryAfter = options.retryAfter
  }
}

export interface ErrorDetails {
  readonly cause?: unknown
  readonly attempts?: readonly Attempt[]
  readonly lasting?: boolean
  readonly retryAfter?: number | undefined
}

/** One source that was tried, and how it failed. */
export interface Attempt {
  readonly source: string
  readonly reason: string
}

/** `SOURCE: REASON`; the source once where the reason begins with it, or with its name and another place (`NAME (…`). */
export function attemptText({ source, reason }: Attempt): string {
  const place = source.indexOf(' (')
  const head = place < 0 ? `${source}: ` : source.slice(0, place + 2)
  return source === '' || reason.startsWith(head) ? reason : `${source}: ${reason}`
}

/** True when `error` is an {@link AnnexfsError} (with that code, when one is named). */
export function isAnnexfsError(error: unknown, code?: ErrorCode): error is AnnexfsError {
  return error instanceof AnnexfsError && (code === undefined || error.code === code)
}

/** Whether asking again in a moment cannot help. */
export function isLasting(error: unknown): boolean {
  return error instanceof AnnexfsError && error.lasting
}

/** The code of a Node.js system error (`ENOENT`, `ECONNRESET`…), or undefined. */
export function systemCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** One line for a log or a message: the error's message, never its stack. */
export function reasonOf(error: unknown): string {
  if (error instanceof Error) {
    const inner = error.cause instanceof Error && error.message === 'fetch failed' ? `: ${error.cause.message}` : ''
    return `${error.message}${inner}`
  }
  return String(error)
}

/** Throws an ABORTED (or TIMED_OUT, when the signal's reason says so) error if the signal has fired. */
export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw abortError(signal)
}

/** The error for a fired signal: its reason when that is ours, TIMED_OUT for a `TimeoutError`, else ABORTED. */
export function abortError(signal: AbortSignal): AnnexfsError {
  const reason: unknown = signal.reason
  if (reason instanceof AnnexfsError) return reason
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new AnnexfsError('TIMED_OUT', 'the deadline has passed', { cause: reason })
  }
  return new AnnexfsError('ABORTED', 'the caller gave up', { cause: reason })
}
