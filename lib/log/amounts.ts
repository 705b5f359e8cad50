import type { Bytes, Milliseconds } from '../space/space.js'

/** How amounts are written in messages. */

/** `2.5 s`. */
export function seconds(duration: Milliseconds): string {
  return `${(duration / 1000).toFixed(1)} s`
}

const UNITS: readonly (readonly [name: string, size: Bytes])[] = [
  ['TiB', 2 ** 40],
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
]

/** `3.1 of 24.0 MiB`, `0.0 of 700.0 KiB`, `77 of 512 B`: both in the unit of the total. */
function shareOf(done: Bytes, total: Bytes): string {
  const [name, size] = unitOf(total)
  return `${inUnit(done, size)} of ${inUnit(total, size)} ${name}`
}

/** A flow that brought nothing for so long stands still, for all that people can see. */
const STILL: Milliseconds = 1_000

/** How far something is that is coming: `3.1 of 24.0 MiB`, `3.1 MiB so far`, and for how long it stood still. */
export function progress(done: Bytes, total: Bytes | undefined, still: Milliseconds): string {
  const share = total === undefined ? `${amount(done)} so far` : shareOf(done, total)
  return still < STILL ? share : `${share}, nothing for ${seconds(still)}`
}

/** `3.1 MiB`. */
export function amount(bytes: Bytes): string {
  const [name, size] = unitOf(bytes)
  return `${inUnit(bytes, size)} ${name}`
}

function unitOf(bytes: Bytes): readonly [name: string, size: Bytes] {
  return UNITS.find(([, size]) => bytes >= size) ?? ['B', 1]
}

function inUnit(bytes: Bytes, size: Bytes): string {
  return (bytes / size).toFixed(size === 1 ? 0 : 1)
}
