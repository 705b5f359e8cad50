import { AnnexfsError } from '../lib/errors.js'
import type { Bytes, Milliseconds } from '../lib/space/space.js'

const SIZES: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
}

const TIMES: Readonly<Record<string, number>> = { ms: 1, s: 1e3, '': 1e3, m: 6e4, h: 3.6e6 }

/** Bytes of `64MiB`, `10GB`, `1048576`; a lone letter (`64M`) is the binary unit. @throws AnnexfsError USAGE. */
export function parseSize(option: string, text: string): Bytes {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim())
  const unit = SIZES[(match?.[2] ?? '?').toUpperCase()]
  const bytes = Math.floor(Number(match?.[1]) * (unit ?? NaN))
  if (!Number.isSafeInteger(bytes)) {
    throw new AnnexfsError(
      'USAGE',
      `${option} wants a size such as 64MiB, 10GB or 1048576, not ${JSON.stringify(text)}`,
    )
  }
  return bytes
}

/** Milliseconds of `30s`, `2m`, `500ms`, `1h`; a bare number is seconds. @throws AnnexfsError USAGE. */
export function parseTime(option: string, text: string): Milliseconds {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim())
  const unit = TIMES[(match?.[2] ?? '?').toLowerCase()]
  const time = Number(match?.[1]) * (unit ?? NaN)
  if (!Number.isFinite(time) || time < 1 || time > 24 * 3.6e6) {
    throw new AnnexfsError('USAGE', `${option} wants a time such as 30s or 2m (up to 24h), not ${JSON.stringify(text)}`)
  }
  return time
}

const PERIODS: Readonly<Record<string, Milliseconds>> = { minute: 6e4, hour: 3.6e6, day: 24 * 3.6e6 }

/** Bytes of `10GB`, or bytes for each period of `10GB/hour`. @throws AnnexfsError USAGE. */
export function parseRate(option: string, text: string): { readonly bytes: Bytes; readonly per?: Milliseconds } {
  const [size = '', name, ...others] = text.split('/')
  const per = PERIODS[name?.trim().toLowerCase() ?? '']
  if (others.length > 0 || (name !== undefined && per === undefined)) {
    throw new AnnexfsError(
      'USAGE',
      `${option} wants a size, or a size for each minute, hour or day such as 2GiB/hour, not ${JSON.stringify(text)}`,
    )
  }
  const bytes = parseSize(option, size)
  return per === undefined ? { bytes } : { bytes, per }
}

/** `1.5 GiB`, `312 B`: for people. */
export function showSize(bytes: Bytes): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1
  return `${value.toFixed(digits)} ${units[unit] ?? ''}`
}

/** `1 file`, `2 files`. */
export function countOf(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}
