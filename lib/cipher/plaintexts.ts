import { abortable } from '../abortable.js'
import { AnnexfsError, throwIfAborted } from '../errors.js'
import type { Demand } from '../sources/source.js'
import { Awaited, type Asking } from '../space/awaited.js'
import type { ByteRange, Bytes, Milliseconds, Urgency } from '../space/space.js'
import type { Plaintext } from './plaintext.js'

/** What a decryption in flight is asked with; its urgency rises with that of those who wait for it. */
export interface FlightDemand extends Asking {
  readonly urgency: () => Urgency
}

export interface PlaintextBounds {
  /** Kept in memory while nobody reads them. */
  readonly memory: Bytes
  /** Files kept while nobody reads them. */
  readonly files: number
  readonly idle: Milliseconds
}

interface Entry {
  readonly id: string
  readonly controller: AbortController
  readonly work: Promise<Plaintext>
  /** What the decryption waits for. */
  readonly awaited: Awaited
  plaintext: Plaintext | undefined
  urgency: Urgency
  /** Readers that wait for it or read from it. */
  users: number
  timer: NodeJS.Timeout | undefined
  closed: boolean
}

/**
 * Objects that were decrypted lately, so that the pieces of one chunk do not decrypt it again and again. Readers of the
 * same object share one decryption, which is ended when the last of them leaves. Owned here: `entries`, least recently
 * used first; an entry leaves it when it failed, was given up, or has to make room, and is closed when its last user left.
 */
export class Plaintexts {
  readonly #entries = new Map<string, Entry>()
  readonly #bounds: PlaintextBounds

  constructor(bounds: PlaintextBounds) {
    this.#bounds = bounds
  }

  /** The bytes of `range` of the object `id`, which `make` decrypts when it is not at hand. @throws what `make` throws. */
  async *read(
    id: string,
    make: (demand: FlightDemand) => Promise<Plaintext>,
    range: ByteRange,
    demand: Demand,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(demand.signal)
    const entry = this.#entries.get(id) ?? this.#start(id, make, demand.urgency)
    this.#touch(entry)
    entry.users++
    if (demand.urgency === 'read') entry.urgency = 'read'
    const over = demand.awaits?.(() => entry.awaited.now)
    try {
      const plaintext = await abortable(entry.work, demand.signal)
      over?.()
      yield* plaintext.read(range, demand.signal)
    } finally {
      over?.()
      entry.users--
      this.#left(entry)
    }
  }

  /** Lets go of the objects whose id starts with `prefix`. */
  forget(prefix: string): void {
    for (const entry of this.#entries.values()) if (entry.id.startsWith(prefix)) this.#drop(entry)
  }

  #start(id: string, make: (demand: FlightDemand) => Promise<Plaintext>, urgency: Urgency): Entry {
    const controller = new AbortController()
    const awaited = new Awaited()
    const demand: FlightDemand = {
      urgency: () => entry.urgency,
      signal: controller.signal,
      awaits: awaited.tell,
    }
    const work = Promise.resolve().then(() => make(demand))
    const entry: Entry = {
      id,
      controller,
      work,
      awaited,
      plaintext: undefined,
      urgency,
      users: 0,
      timer: undefined,
      closed: false,
    }
    this.#entries.set(id, entry)
    work.then(
      (plaintext) => {
        entry.plaintext = plaintext
        if (entry.users === 0) this.#left(entry)
        this.#makeRoom()
      },
      () => {
        this.#forget(entry)
        controller.abort(new AnnexfsError('ABORTED', 'the decryption failed'))
      },
    )
    return entry
  }

  #touch(entry: Entry): void {
    clearTimeout(entry.timer)
    this.#entries.delete(entry.id)
    this.#entries.set(entry.id, entry)
  }

  #left(entry: Entry): void {
    if (entry.users > 0) return
    if (this.#entries.get(entry.id) !== entry || entry.plaintext === undefined) return this.#drop(entry)
    clearTimeout(entry.timer)
    entry.timer = setTimeout(() => this.#drop(entry), this.#bounds.idle).unref()
    this.#makeRoom()
  }

  #makeRoom(): void {
    const ready = [...this.#entries.values()].filter(({ plaintext }) => plaintext !== undefined)
    let memory = 0
    let files = 0
    for (const entry of ready.reverse()) {
      const size = entry.plaintext?.memory ?? 0
      const isFile = size === 0 && (entry.plaintext?.size ?? 0) > 0
      memory += size
      files += isFile ? 1 : 0
      if (entry.users === 0 && (isFile ? files > this.#bounds.files : memory > this.#bounds.memory)) this.#drop(entry)
    }
  }

  /** Out of the table; ended or closed unless somebody still uses it (then when the last one leaves). */
  #drop(entry: Entry): void {
    this.#forget(entry)
    if (entry.users > 0 || entry.closed) return
    entry.closed = true
    if (entry.plaintext === undefined) entry.controller.abort(new AnnexfsError('ABORTED', 'nobody wants it any more'))
    // Closing what was only read loses nothing when it fails; and a decryption that was too late to be stopped is closed here.
    entry.work.then((plaintext) => plaintext.close()).catch(() => undefined)
  }

  #forget(entry: Entry): void {
    clearTimeout(entry.timer)
    if (this.#entries.get(entry.id) === entry) this.#entries.delete(entry.id)
  }
}

/** One for the process: the bound is on what all remotes together keep. */
export const sharedPlaintexts = new Plaintexts({ memory: 64 * 1024 * 1024, files: 2, idle: 30_000 })
