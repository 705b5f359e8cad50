import type { ErrorCode } from '../errors.js'
import { isAnnexfsError } from '../errors.js'

/** Error numbers of Linux, negative as libfuse wants them. The only place of annexfs where errno is known. */
export const ERRNO = {
  ENOENT: -2,
  EIO: -5,
  E2BIG: -7,
  EBADF: -9,
  EACCES: -13,
  ENOTDIR: -20,
  EISDIR: -21,
  EINVAL: -22,
  EROFS: -30,
  ERANGE: -34,
  ENAMETOOLONG: -36,
  ENODATA: -61,
  EOPNOTSUPP: -95,
  ETIMEDOUT: -110,
  EDQUOT: -122,
} as const

export type Errno = (typeof ERRNO)[keyof typeof ERRNO]

const BY_CODE: Readonly<Record<ErrorCode, Errno>> = {
  NOT_FOUND: ERRNO.ENOENT,
  NOT_A_DIRECTORY: ERRNO.ENOTDIR,
  IS_A_DIRECTORY: ERRNO.EISDIR,
  UNAVAILABLE: ERRNO.EIO,
  TIMED_OUT: ERRNO.ETIMEDOUT,
  CORRUPT: ERRNO.EIO,
  FORBIDDEN: ERRNO.EACCES,
  OVER_BUDGET: ERRNO.EDQUOT,
  INVALID: ERRNO.EIO,
  UNSUPPORTED: ERRNO.EOPNOTSUPP,
  // Not EINTR or EAGAIN: programs would try again for ever.
  ABORTED: ERRNO.EIO,
  SYSTEM: ERRNO.EIO,
  USAGE: ERRNO.EINVAL,
}

/** What a failed look-up, listing or open answers. */
export function errnoOf(error: unknown): Errno {
  return isAnnexfsError(error) ? BY_CODE[error.code] : ERRNO.EIO
}

/**
 * What a failed read answers: programs expect nothing of read(2) but EIO, and ETIMEDOUT at our deadline. Over budget is
 * EDQUOT: nothing is broken, and whoever sees "Disk quota exceeded" knows where to look.
 */
export function readErrnoOf(error: unknown): Errno {
  if (isAnnexfsError(error, 'OVER_BUDGET')) return ERRNO.EDQUOT
  return isAnnexfsError(error, 'TIMED_OUT') ? ERRNO.ETIMEDOUT : ERRNO.EIO
}
