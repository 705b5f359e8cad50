import { AnnexfsError, throwIfAborted } from '../errors.js'
import type { ByteRange, Bytes } from '../space/space.js'

/** A part of a content that is stored on its own. */
export interface ContentPart {
  readonly index: number
  /** Where it lies in the content. */
  readonly range: ByteRange
  /** The bytes of it that are wanted, counted from its own start. */
  readonly wanted: ByteRange
}

/** The parts of `size` bytes (the last one of `length` may be shorter) that `range` touches, and what it needs of each. */
export function* partsOf(range: ByteRange, size: Bytes, length: Bytes): Generator<ContentPart, void, undefined> {
  for (let at = range.start; at < range.end;) {
    const index = Math.floor(at / size)
    const part = partRange(index, size, length)
    const end = Math.min(range.end, part.end)
    yield { index, range: part, wanted: { start: at - part.start, end: end - part.start } }
    at = end
  }
}

/** The bytes of the content that part `index` has. */
export function partRange(index: number, size: Bytes, length: Bytes): ByteRange {
  return { start: Math.min(length, index * size), end: Math.min(length, (index + 1) * size) }
}

/** Begins to give the bytes of one part; ends when `signal` fires. */
export type OpenPart<T> = (part: T, signal: AbortSignal) => AsyncGenerator<Uint8Array, void, undefined>

/**
 * The bytes of several parts, one after another. The next one is begun while one is read, so that a round trip or a
 * decryption does not stand between two chunks. All that were begun are ended when the reader leaves or one fails.
 */
export async function* joined<T>(
  parts: Iterable<T>,
  open: OpenPart<T>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = parts[Symbol.iterator]()
  const leaving = new AbortController()
  const onAbort = (): void => leaving.abort(signal.reason)
  signal.addEventListener('abort', onAbort)
  const begin = (): Body | undefined => {
    const part = iterator.next()
    return part.done === true ? undefined : begun(open(part.value, leaving.signal))
  }
  let current: Body | undefined
  let next: Body | undefined
  try {
    throwIfAborted(signal)
    current = begin()
    while (current !== undefined) {
      let item = await current.first
      next = begin()
      while (item.done !== true) {
        yield item.value
        item = await current.rest.next()
      }
      current = next
      next = undefined
    }
  } finally {
    signal.removeEventListener('abort', onAbort)
    leaving.abort(new AnnexfsError('ABORTED', 'the reader has left'))
    // One that stands at a `yield` hears no signal: it is told, so that it lets go of its object. Not waited for.
    for (const body of [current, next]) body?.rest.return().catch(() => undefined)
  }
}

interface Body {
  readonly first: Promise<IteratorResult<Uint8Array, void>>
  readonly rest: AsyncGenerator<Uint8Array, void, undefined>
}

function begun(rest: AsyncGenerator<Uint8Array, void, undefined>): Body {
  const first = rest.next()
  // Its failure is met when its turn comes; nobody listens yet.
  first.catch(() => undefined)
  return { first, rest }
}
