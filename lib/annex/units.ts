import type { Bytes, Milliseconds } from '../space/space.js'

/** Storage units are powers of 1000, memory units of 1024 (git-annex: Utility.DataUnits). */
const SIZES: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['b', 1],
  ['byte', 1],
  ...['k', 'm', 'g', 't', 'p'].flatMap((letter, index): [string, number][] => [
    [`${letter}b`, 1000 ** (index + 1)],
    [`${letter}ib`, 1024 ** (index + 1)],
  ]),
  ...['kilo', 'mega', 'giga', 'tera', 'peta'].map((name, index): [string, number] => [
    `${name}byte`,
    1000 ** (index + 1),
  ]),
  ...['kibi', 'mebi', 'gibi', 'tebi', 'pebi'].map((name, index): [string, number] => [
    `${name}byte`,
    1024 ** (index + 1),
  ]),
])

const TIMES: ReadonlyMap<string, Milliseconds> = new Map([
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
  ['y', 365 * 86_400_000],
])

/** A size as git-annex's settings have it: `1MiB`, `100 kb`, `1.5 gigabytes`; undefined for anything else. */
export function annexBytes(text: string): Bytes | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*?)s?\s*$/i.exec(text)
  const unit = SIZES.get((match?.[2] ?? '?').toLowerCase())
  const bytes = Math.floor(Number(match?.[1]) * (unit ?? NaN))
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** A time as git-annex's settings have it: `1h5m`, `30s`; undefined for anything else. */
export function annexDuration(text: string): Milliseconds | undefined {
  const compact = text.replace(/\s+/g, '')
  if (!/^(?:\d{1,9}[smhdy])+$/.test(compact)) return undefined
  let total = 0
  for (const [, digits, unit] of compact.matchAll(/(\d+)([smhdy])/g)) {
    total += Number(digits) * (TIMES.get(unit ?? '') ?? NaN)
  }
  return Number.isSafeInteger(total) ? total : undefined
}
