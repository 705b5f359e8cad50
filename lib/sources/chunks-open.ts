import type { StoredObject } from '../stores/store.js'

interface Entry {
  readonly object: StoredObject
  users: number
  dropped: boolean
}

export interface Borrowed {
  readonly object: StoredObject
  /** Gives it back; `failed`: it is not used again. */
  release(failed: boolean): void
}

/** Objects that are kept open for the next read. */
const MOST_IDLE = 4

/**
 * The parts of one content that are open in a store. Owned here: `entries`, least recently used first; an object is
 * closed when it has to go and nobody reads from it any more.
 */
export class OpenParts {
  readonly #open: (index: number, signal: AbortSignal) => Promise<StoredObject | undefined>
  readonly #entries = new Map<number, Entry>()
  #closed = false

  constructor(open: (index: number, signal: AbortSignal) => Promise<StoredObject | undefined>) {
    this.#open = open
  }

  /** Keeps an object that was opened elsewhere. */
  put(index: number, object: StoredObject): void {
    if (this.#closed || this.#entries.has(index)) object.close?.()
    else this.#entries.set(index, { object, users: 0, dropped: false })
  }

  /** Undefined when the store surely has no such part. @throws as the store. */
  async borrow(index: number, signal: AbortSignal): Promise<Borrowed | undefined> {
    if (!this.#entries.has(index)) {
      const object = await this.#open(index, signal)
      if (object === undefined) return undefined
      if (this.#closed) {
        const alone: Entry = { object, users: 1, dropped: true }
        return { object, release: () => this.#release(index, alone, true) }
      }
      this.put(index, object)
    }
    const entry = this.#entries.get(index)
    if (entry === undefined) return undefined
    this.#entries.delete(index)
    this.#entries.set(index, entry)
    entry.users++
    this.#makeRoom()
    let held = true
    return {
      object: entry.object,
      release: (failed) => {
        if (held) this.#release(index, entry, failed)
        held = false
      },
    }
  }

  close(): void {
    this.#closed = true
    for (const [index, entry] of this.#entries) this.#drop(index, entry)
  }

  #release(index: number, entry: Entry, failed: boolean): void {
    entry.users--
    if (failed || entry.dropped) this.#drop(index, entry)
    else this.#makeRoom()
  }

  #makeRoom(): void {
    let idle = [...this.#entries.values()].filter(({ users }) => users === 0).length
    for (const [index, entry] of this.#entries) {
      if (idle <= MOST_IDLE) return
      if (entry.users > 0) continue
      this.#drop(index, entry)
      idle--
    }
  }

  #drop(index: number, entry: Entry): void {
    entry.dropped = true
    if (this.#entries.get(index) === entry) this.#entries.delete(index)
    if (entry.users === 0) entry.object.close?.()
  }
}
