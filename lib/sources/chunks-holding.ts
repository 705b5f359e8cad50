import type { Cipher } from '../cipher/cipher.js'
import { sharedPlaintexts, type FlightDemand, type Plaintexts } from '../cipher/plaintexts.js'
import type { Plaintext } from '../cipher/plaintext.js'
import { AnnexfsError, isAnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import type { Log } from '../log/log.js'
import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'
import type { ObjectStore, StoredObject } from '../stores/store.js'
import { progress } from '../log/amounts.js'
import type { Asking } from '../space/awaited.js'
import { joined, partsOf, type ContentPart } from './chunks.js'
import type { Layout } from './chunks-layout.js'
import { OpenParts } from './chunks-open.js'
import { checkInside, inside } from './range.js'
import type { Demand, Holding } from './source.js'

export interface StoredContentOptions {
  readonly name: string
  readonly length: Bytes
  readonly layouts: readonly Layout[]
  readonly store: ObjectStore
  readonly cipher: Cipher | undefined
  readonly log: Log
  readonly plaintexts?: Plaintexts
}

/** A longer range is not asked of an encrypted object at once: once it is decrypted, the rest of it is at hand. */
const LONGEST_UNIT: Bytes = 16 * 1024 * 1024

/** Errors that tell that the content does not lie there in this way; anything else is about the store. */
const NOT_SO = ['NOT_FOUND', 'FORBIDDEN', 'CORRUPT'] as const

/** A layout that is looked at, its objects, and whether it ever gave a byte. */
interface Chosen {
  readonly layout: Layout
  readonly first: StoredObject
  readonly parts: OpenParts
  confirmed: boolean
}

/**
 * Content in a store, whole or in chunks, plain or encrypted. One layout is chosen, the first whose first object is
 * there; stores that open objects unasked show at the first read that it is not, and then the next layout is looked at.
 * Layouts are never mixed within a read.
 */
export class StoredContent implements Holding {
  readonly #options: StoredContentOptions
  readonly #plaintexts: Plaintexts
  #chosen: Chosen
  /** Made by the first read that finds `chosen` wrong; the others wait for it. */
  #choosing: Promise<void> | undefined
  /** None of the layouts is there any more. */
  exhausted = false

  private constructor(options: StoredContentOptions, chosen: Chosen) {
    this.#options = options
    this.#plaintexts = options.plaintexts ?? sharedPlaintexts
    this.#chosen = chosen
  }

  /**
   * Looks for the content; undefined when the store surely does not have it.
   * @throws AnnexfsError UNAVAILABLE and others of the store; CORRUPT, FORBIDDEN when that was said of all that is there.
   */
  static async find(options: StoredContentOptions, signal: AbortSignal): Promise<StoredContent | undefined> {
    const { chosen, error } = await choose(options, 0, signal)
    if (chosen !== undefined) return new StoredContent(options, chosen)
    if (error !== undefined) throw error
    return undefined
  }

  get unit(): Bytes {
    const { first, layout } = this.#chosen
    const part = Math.min(layout.partSize, Math.max(1, this.#options.length))
    if (this.#options.cipher !== undefined) return Math.min(part, LONGEST_UNIT)
    return first.whole === true ? part : Math.min(first.unit, part)
  }

  get longest(): Bytes {
    return this.#options.cipher === undefined ? Math.max(this.unit, this.#chosen.first.longest) : LONGEST_UNIT
  }

  get parallel(): number {
    const { parallel } = this.#chosen.first
    return this.#options.cipher === undefined ? parallel : Math.min(2, parallel)
  }

  get whole(): boolean {
    const { first, layout } = this.#chosen
    return layout.count === 1 && (this.#options.cipher !== undefined || first.whole === true)
  }

  get version(): string | undefined {
    return this.#chosen.first.version
  }

  closedUntil(): Milliseconds {
    return this.#chosen.first.closedUntil?.() ?? 0
  }

  get length(): Bytes {
    return this.#options.length
  }

  has(range: ByteRange): boolean {
    return inside(range, this.#options.length)
  }

  async *read(range: ByteRange, demand: Demand): AsyncGenerator<Uint8Array, void, undefined> {
    const { name, length } = this.#options
    checkInside(range, length, name)
    for (;;) {
      throwIfAborted(demand.signal)
      const chosen = this.#chosen
      let given = 0
      try {
        for await (const bytes of this.#readFrom(chosen, range, demand)) {
          given += bytes.byteLength
          chosen.confirmed = true
          yield bytes
        }
        if (given === range.end - range.start) return
        throw new AnnexfsError('CORRUPT', `${name} gave ${given} bytes of ${range.end - range.start}`)
      } catch (error) {
        if (demand.signal.aborted || given > 0) throw missingIsUnavailable(error, name, chosen)
        if (chosen.confirmed || !NOT_SO.some((code) => isAnnexfsError(error, code))) {
          throw missingIsUnavailable(error, name, chosen)
        }
        if (this.#chosen === chosen) await this.#chooseNext(chosen, error, demand.signal)
      }
    }
  }

  close(): void {
    this.#chosen.parts.close()
  }

  async #chooseNext(chosen: Chosen, error: unknown, signal: AbortSignal): Promise<void> {
    this.#choosing ??= (async () => {
      const { layouts, name, log } = this.#options
      const next = await choose(this.#options, layouts.indexOf(chosen.layout) + 1, signal)
      if (next.chosen === undefined) {
        this.exhausted = true
        throw missingIsUnavailable(isAnnexfsError(error, 'NOT_FOUND') ? (next.error ?? error) : error, name, chosen)
      }
      log.debug('content lies otherwise in a remote', {
        source: name,
        not: chosen.layout.label,
        reason: reasonOf(error),
      })
      chosen.parts.close()
      this.#chosen = next.chosen
    })().finally(() => (this.#choosing = undefined))
    try {
      await this.#choosing
    } catch (failure) {
      // The one who chose has left; whoever is still here chooses again.
      if (
        signal.aborted ||
        !['ABORTED', 'TIMED_OUT'].some((code) => isAnnexfsError(failure) && failure.code === code)
      ) {
        throw failure
      }
    }
  }

  #readFrom(chosen: Chosen, range: ByteRange, demand: Demand): AsyncGenerator<Uint8Array, void, undefined> {
    const { cipher, length } = this.#options
    const parts = partsOf(range, chosen.layout.partSize, length)
    return joined(
      parts,
      (part, signal) =>
        cipher === undefined
          ? this.#plainPart(chosen, part, { ...demand, signal })
          : this.#decryptedPart(chosen, part, { ...demand, signal }, cipher),
      demand.signal,
    )
  }

  async *#plainPart(chosen: Chosen, part: ContentPart, demand: Demand): AsyncGenerator<Uint8Array, void, undefined> {
    const borrowed = await chosen.parts.borrow(part.index, demand.signal)
    if (borrowed === undefined) throw absentPart(chosen.layout, part.index)
    const wanted = part.wanted.end - part.wanted.start
    let given = 0
    let complete = false
    try {
      const { object } = borrowed
      checkSize(object, part)
      for await (const bytes of object.read(part.wanted, demand)) {
        given += bytes.byteLength
        if (given > wanted) throw otherLength(part, given, wanted)
        yield bytes
      }
      if (given !== wanted) throw otherLength(part, given, wanted)
      complete = true
    } finally {
      borrowed.release(!complete && !demand.signal.aborted)
    }
  }

  #decryptedPart(
    chosen: Chosen,
    part: ContentPart,
    demand: Demand,
    cipher: Cipher,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const id = `${storeNumber(this.#options.store)}:${chosen.layout.idOf(part.index)}`
    const size = part.range.end - part.range.start
    const decrypt = async (flight: FlightDemand): Promise<Plaintext> => {
      const borrowed = await chosen.parts.borrow(part.index, flight.signal)
      if (borrowed === undefined) throw absentPart(chosen.layout, part.index)
      try {
        const { object } = borrowed
        const most = longestEncrypted(size)
        if ((object.size ?? 0) > most) {
          throw new AnnexfsError('CORRUPT', `encrypted part ${part.index + 1} has ${object.size} bytes for ${size}`)
        }
        const source = object.all(most, { ...flight, urgency: flight.urgency() })
        const told = tellingProgress(source, whatOf(chosen.layout, part), object.size, flight)
        return await cipher.decrypt(told, { ...flight, size, most: size })
      } finally {
        // All of it was read, or it is not to be trusted; the plaintext is what is kept.
        borrowed.release(true)
      }
    }
    return this.#plaintexts.read(id, decrypt, part.wanted, demand)
  }
}

async function choose(
  options: StoredContentOptions,
  from: number,
  signal: AbortSignal,
): Promise<{ chosen?: Chosen; error?: AnnexfsError }> {
  const { layouts, name, log } = options
  let failure: AnnexfsError | undefined
  for (const layout of layouts.slice(from)) {
    try {
      const first = await layout.open(0, { urgency: 'read', signal })
      if (first === undefined) continue
      const parts = new OpenParts((index, within) => layout.open(index, { urgency: 'read', signal: within }))
      parts.put(0, first)
      return { chosen: { layout, first, parts, confirmed: false } }
    } catch (error) {
      if (signal.aborted || !isAnnexfsError(error) || !NOT_SO.some((code) => code === error.code)) throw error
      if (error.code !== 'NOT_FOUND') failure ??= error
      log.debug('not stored in this way', { source: name, as: layout.label, reason: reasonOf(error) })
    }
  }
  return failure === undefined ? {} : { error: failure }
}

function whatOf({ count }: Layout, { index }: ContentPart): string {
  return count === 1 ? 'the whole object' : `the whole of part ${index + 1} of ${count}`
}

/** `source`, all of which has to come before any of it can be given; those who wait for that are told how far it is. */
async function* tellingProgress(
  source: AsyncIterable<Uint8Array>,
  what: string,
  size: Bytes | undefined,
  { awaits }: Asking,
): AsyncGenerator<Uint8Array, void, undefined> {
  let come = 0
  let moved = performance.now()
  const over = awaits?.(() => `${what} is coming, ${progress(come, size, performance.now() - moved)}`)
  try {
    for await (const bytes of source) {
      come += bytes.byteLength
      moved = performance.now()
      yield bytes
    }
  } finally {
    over?.()
  }
}

function checkSize(object: StoredObject, { range, index }: ContentPart): void {
  const size = range.end - range.start
  if (object.size === undefined || object.size === size) return
  throw new AnnexfsError('CORRUPT', `part ${index + 1} has ${object.size} bytes instead of ${size}`)
}

function otherLength({ index }: ContentPart, given: Bytes, wanted: Bytes): AnnexfsError {
  return new AnnexfsError('CORRUPT', `part ${index + 1} gave ${given} bytes instead of ${wanted}`)
}

function absentPart(layout: Layout, index: number): AnnexfsError {
  return new AnnexfsError('NOT_FOUND', `part ${index + 1} of ${layout.count} (${layout.label}) is not there`)
}

/** What is said outside: `Holding.read` knows no NOT_FOUND. */
function missingIsUnavailable(error: unknown, name: string, { layout }: Chosen): unknown {
  if (!isAnnexfsError(error, 'NOT_FOUND')) return error
  return new AnnexfsError('UNAVAILABLE', `${name} does not have all of it (${layout.label}): ${error.message}`, {
    cause: error,
  })
}

/** OpenPGP adds session keys for each recipient, and a little for each block; compression may fail to compress. */
function longestEncrypted(size: Bytes): Bytes {
  return size + Math.ceil(size / 8) + 1024 * 1024
}

const numbers = new WeakMap<ObjectStore, number>()
let lastNumber = 0

function storeNumber(store: ObjectStore): number {
  const number = numbers.get(store) ?? ++lastNumber
  numbers.set(store, number)
  return number
}
