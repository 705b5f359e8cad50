import { isAnnexfsError, type ErrorCode } from '../lib/errors.js'

/** Exit codes, as `annexfs --help` documents them. */
export const EXIT = {
  ok: 0,
  /** Something failed that none of the others names. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** SOURCE, path or mount is not there, or is not what it should be. */
  notFound: 3,
  /** Content cannot be had now: no source has it, all failed, or the deadline has passed. */
  unavailable: 4,
  /** What came, or what is cached, is not what it should be. */
  corrupt: 5,
  /** Something that annexfs needs of the system is missing (see `annexfs doctor`). */
  system: 6,
} as const

const CODES: Readonly<Record<ErrorCode, number>> = {
  NOT_FOUND: EXIT.notFound,
  NOT_A_DIRECTORY: EXIT.notFound,
  IS_A_DIRECTORY: EXIT.notFound,
  UNAVAILABLE: EXIT.unavailable,
  TIMED_OUT: EXIT.unavailable,
  CORRUPT: EXIT.corrupt,
  FORBIDDEN: EXIT.unavailable,
  OVER_BUDGET: EXIT.unavailable,
  INVALID: EXIT.notFound,
  UNSUPPORTED: EXIT.notFound,
  ABORTED: EXIT.failed,
  SYSTEM: EXIT.system,
  USAGE: EXIT.usage,
}

export function exitCodeOf(error: unknown): number {
  return isAnnexfsError(error) ? CODES[error.code] : EXIT.failed
}
