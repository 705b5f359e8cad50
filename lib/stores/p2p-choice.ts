import type { Bytes, Milliseconds } from '../space/space.js'

/** A connection as the choice sees it. */
export interface Candidate {
  readonly busy: boolean
  /** Content that is under way on it: from where the next bytes are, and how much is left. */
  readonly sending?: { readonly key: string; readonly at: Bytes; readonly end: Bytes }
  /** Of a busy one: where the read that it serves ends. */
  readonly until?: Bytes
  /** When it was last used. */
  readonly used: Milliseconds
}

/** A read of content; `size`: of all of it, undefined when that is yet to be learned. */
export interface Wish {
  readonly key: string
  readonly start: Bytes
  readonly size: Bytes | undefined
}

export interface Costs {
  /** Time to open a connection in the place of another, measured. */
  readonly reopening: Milliseconds
  /** Bytes in a millisecond, measured. */
  readonly rate: number
}

/** What to do for a wish; `index`: of the candidate. */
export type Choice =
  /** Goes on, or starts, with this one; `skip` bytes come first and are thrown away. */
  | { readonly how: 'use'; readonly index: number; readonly skip: Bytes }
  /** Another is opened. */
  | { readonly how: 'open' }
  /** This one is closed and another opened. */
  | { readonly how: 'replace'; readonly index: number }
  /** One that is busy will stand at the right place, or all are busy. */
  | { readonly how: 'wait'; readonly follows: boolean }

/** However fast the line: more than this is not read to be thrown away. */
const MOST_SKIPPED: Bytes = 16 * 1024 * 1024

/** True when to take `rest` bytes and throw them away is quicker than to open a new connection. */
export function worthDraining(rest: Bytes, { reopening, rate }: Costs): boolean {
  return rest <= Math.min(MOST_SKIPPED, reopening * rate)
}

/** True when taking more of what is sent gets to where the wish starts. */
export function leadsTo(sending: Candidate['sending'], { key, start, size }: Wish): boolean {
  if (sending === undefined || sending.key !== key || (size !== undefined && sending.end !== size)) return false
  return sending.at <= start && start < sending.end
}

/**
 * The connection for a read that starts at `wish` (undefined: for a question): best one that stands there, then one
 * that will stand there, one that is nearly there, one without anything under way, one with a short rest, a new one,
 * and in the end the one that has idled longest is given up.
 */
export function chooseConnection(
  candidates: readonly Candidate[],
  wish: Wish | undefined,
  costs: Costs,
  most: number,
  follow = true,
): Choice {
  const idle = candidates.map((candidate, index) => ({ ...candidate, index })).filter(({ busy }) => !busy)
  if (wish !== undefined) {
    const standing = idle.find(({ sending }) => sending?.at === wish.start && leadsTo(sending, wish))
    if (standing !== undefined) return { how: 'use', index: standing.index, skip: 0 }
    const willStand = candidates.some(
      ({ busy, sending, until }) => busy && until === wish.start && leadsTo(sending, wish),
    )
    if (willStand && follow) return { how: 'wait', follows: true }
    const near = idle
      .filter(({ sending }) => leadsTo(sending, wish))
      .map(({ index, sending }) => ({ index, skip: wish.start - (sending?.at ?? 0) }))
      .filter(({ skip }) => worthDraining(skip, costs))
      .sort((a, b) => a.skip - b.skip)[0]
    if (near !== undefined) return { how: 'use', ...near }
  }
  const free = idle.find(({ sending }) => sending === undefined)
  if (free !== undefined) return { how: 'use', index: free.index, skip: 0 }
  const short = idle
    .map(({ index, sending }) => ({ index, skip: sending === undefined ? 0 : sending.end - sending.at }))
    .filter(({ skip }) => worthDraining(skip, costs))
    .sort((a, b) => a.skip - b.skip)[0]
  if (short !== undefined) return { how: 'use', ...short }
  if (candidates.length < most) return { how: 'open' }
  const oldest = idle.sort((a, b) => a.used - b.used)[0]
  return oldest === undefined ? { how: 'wait', follows: false } : { how: 'replace', index: oldest.index }
}
