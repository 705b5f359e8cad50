import type { ErrorCode } from '../errors.js'
import { isAnnexfsError } from '../errors.js'

const BY_CODE: Readonly<Record<ErrorCode, number>> = {
  NOT_FOUND: 404,
  NOT_A_DIRECTORY: 404,
  IS_A_DIRECTORY: 404,
  UNAVAILABLE: 503,
  OVER_BUDGET: 503,
  TIMED_OUT: 504,
  CORRUPT: 502,
  FORBIDDEN: 403,
  INVALID: 500,
  UNSUPPORTED: 501,
  ABORTED: 503,
  SYSTEM: 500,
  USAGE: 400,
}

/** The HTTP status that says what an error of ours says. */
export function statusOf(error: unknown): number {
  return isAnnexfsError(error) ? BY_CODE[error.code] : 500
}
