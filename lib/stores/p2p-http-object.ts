import { AnnexfsError, throwIfAborted } from '../errors.js'
import { CutOff, type HttpBody } from '../net/http-body.js'
import { Passing, Tries } from '../net/retry.js'
import { checkInside } from '../sources/range.js'
import type { ByteRange, Bytes } from '../space/space.js'
import type { Demand } from '../sources/source.js'
import type { StoredObject } from './store.js'

export interface P2pObjectOptions {
  readonly name: string
  readonly size: Bytes | undefined
  /** The answer 200 with the content from `offset` on. */
  readonly open: (offset: Bytes, signal: AbortSignal) => Promise<HttpBody>
  /** Waits until the server may be asked; what it gives is called when its answer has ended or was cut off. */
  readonly turn: (demand: Demand) => Promise<() => void>
}

/** What is on its way when a connection is closed is wasted: smaller reads would waste more than they use. */
const UNIT: Bytes = 512 * 1024
const LONGEST: Bytes = 32 * 1024 * 1024
/** Requests take turns (p2p-http.ts): another would wait. */
const PARALLEL = 1
/** So much must arrive before a connection that is cut off counts as progress. */
const PROGRESS: Bytes = 64 * 1024

/** Content that is sent from an offset to its end: read as far as it is wanted, then the connection is closed. */
export function p2pObject(options: P2pObjectOptions): StoredObject {
  const { name, size } = options

  /** From `start` on to `end`, or to what the server says is the end. */
  async function* stream(range: ByteRange | undefined, most: Bytes, demand: Demand): AsyncGenerator<Uint8Array> {
    const { signal } = demand
    const tries = new Tries(demand)
    let at = range?.start ?? 0
    let total = size
    while (range === undefined ? total === undefined || at < total : at < range.end) {
      throwIfAborted(signal)
      const before = at
      const leave = await options.turn(demand)
      try {
        const answer = await options.open(at, signal)
        try {
          total = checkedTotal(answer, at, total, name)
          if (range === undefined && total > most) {
            throw new AnnexfsError('CORRUPT', `${name}: the content has ${total} bytes, more than ${most}`)
          }
          const end = range?.end ?? total
          if (end > total) throw new AnnexfsError('CORRUPT', `${name}: the content has ${total} bytes only`)
          for await (const bytes of answer) {
            if (at + bytes.byteLength > total) {
              throw new AnnexfsError('CORRUPT', `${name}: the server sent more bytes than it announced`)
            }
            const part = at + bytes.byteLength > end ? bytes.subarray(0, end - at) : bytes
            at += part.byteLength
            if (part.byteLength > 0) yield part
            if (at >= end) return
          }
          // A shorter body than announced, orderly ended, is how the server says that its content is not valid.
          if (at < end) throw new AnnexfsError('CORRUPT', `${name}: the server says that its content is not valid`)
          return
        } finally {
          answer.cancel()
        }
      } catch (error) {
        const passing = error instanceof CutOff ? new Passing(error) : error
        if (!(passing instanceof Passing)) throw error
        if (at - before >= PROGRESS) tries.progressed()
        leave()
        await tries.wait(passing)
      } finally {
        leave()
      }
    }
  }

  return {
    unit: UNIT,
    longest: LONGEST,
    parallel: PARALLEL,
    ...(size === undefined ? {} : { size }),
    read: async function* (range, demand) {
      if (size !== undefined) checkInside(range, size, name)
      yield* stream(range, range.end, demand)
    },
    all: (most, demand) => stream(undefined, most, demand),
  }
}

/** The size of the whole content, from what is announced to follow `offset`. */
function checkedTotal(answer: HttpBody, offset: Bytes, known: Bytes | undefined, name: string): Bytes {
  const length = dataLength(answer)
  if (length === undefined) {
    throw new AnnexfsError('CORRUPT', `${name}: the answer lacks X-git-annex-data-length, so its end cannot be told`)
  }
  const total = offset + length
  if (known !== undefined && total !== known) {
    throw new AnnexfsError('CORRUPT', `${name}: the content has ${total} bytes instead of ${known}`)
  }
  return total
}

/** What the server says it sends, in bytes; undefined when that makes no sense. */
export function dataLength(answer: HttpBody): Bytes | undefined {
  const text = answer.header('x-git-annex-data-length')?.trim() ?? ''
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
