const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** Bytes as people read them, in three figures: `0 B`, `1.25 MiB`, `312 GiB`; `10 GiB` when it is exactly that. */
export function size(bytes: number): string {
  let value = Math.max(0, Number.isFinite(bytes) ? bytes : 0)
  let unit = 0
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  const figures = Number.isInteger(value) || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
  return `${value.toFixed(figures)} ${UNITS[unit]}`
}

/** Bytes per second; less than one is rest. */
export function rate(bytes: number): string {
  return bytes < 1 ? '0 B/s' : `${size(bytes)}/s`
}

/** A share as a whole percentage that says 0 and 100 only when it is so. */
export function percent(part: number, whole: number): string {
  if (whole <= 0 || part >= whole) return '100 %'
  return part <= 0 ? '0 %' : `${Math.min(99, Math.max(1, Math.round((part / whole) * 100)))} %`
}

/** A duration of `milliseconds`, coarse: `< 1 s`, `12 s`, `4 min`, `3 h`, `2 d`. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000))
  if (seconds === 0) return '< 1 s'
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

export function ago(milliseconds: number): string {
  return milliseconds < 1500 ? 'just now' : `${duration(milliseconds)} ago`
}

/** `1 peer`, `2 peers`. */
export function count(number: number, one: string, several = `${one}s`): string {
  return `${number.toLocaleString('en')} ${number === 1 ? one : several}`
}

const LONGEST_NAME = 500
// Controls, line ends of Unicode, and what turns the direction of text: such a name would lie about itself.
// oxlint-disable-next-line no-control-regex
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu

/** A name as it may be shown: what cannot be seen is spelled out, what is endless is cut in the middle. */
export function visible(name: string): string {
  const half = LONGEST_NAME / 2
  const cut = name.length > LONGEST_NAME ? `${name.slice(0, half)}…${name.slice(-half)}` : name
  return cut.replace(UNSEEN, (one) => `\\u${(one.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`)
}
