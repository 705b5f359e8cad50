import { setTimeout as sleep } from 'node:timers/promises'
import { abortable } from '../abortable.js'
import { AnnexfsError, isAnnexfsError, reasonOf } from '../errors.js'
import type { Milliseconds } from '../space/space.js'
import type { ObjectName, ObjectStore, StoredObject } from './store.js'

/** A store that could not be opened is tried again after so long: a disk may be plugged in, a program installed. */
const TRY_AGAIN: Milliseconds = 10_000

const CLOSED_WITHIN: Milliseconds = 5_000

/** A store that is opened when it is first asked for something, and again some time after that has failed. */
export class LazyStore implements ObjectStore {
  readonly #name: string
  readonly #make: () => Promise<ObjectStore>
  #opening: Promise<ObjectStore> | undefined
  #failed: { readonly error: unknown; readonly at: Milliseconds } | undefined
  #closed = false

  /** @param name of the remote, for messages. */
  constructor(name: string, make: () => Promise<ObjectStore>) {
    this.#name = name
    this.#make = make
  }

  async open(name: ObjectName, signal: AbortSignal): Promise<StoredObject | undefined> {
    const store = await abortable(this.#opened(), signal)
    return store.open(name, signal)
  }

  async close(): Promise<void> {
    this.#closed = true
    const opening = this.#opening
    if (opening === undefined) return
    // One that is never opened cannot be closed either, and a mount must end.
    const late = new AbortController()
    const closing = opening.then(
      (store) => store.close?.(),
      () => undefined,
    )
    await Promise.race([closing, sleep(CLOSED_WITHIN, undefined, { signal: late.signal, ref: false })]).finally(() =>
      late.abort(),
    )
  }

  async #opened(): Promise<ObjectStore> {
    if (this.#closed) throw new AnnexfsError('ABORTED', `the remote ${this.#name} was closed`)
    const { error, at } = this.#failed ?? {}
    if (at !== undefined && performance.now() - at < TRY_AGAIN) throw error
    this.#opening ??= this.#make().catch((cause: unknown) => {
      this.#opening = undefined
      const failure = isAnnexfsError(cause)
        ? cause
        : new AnnexfsError('SYSTEM', `the remote ${this.#name} cannot be opened: ${reasonOf(cause)}`, { cause })
      this.#failed = { error: failure, at: performance.now() }
      throw failure
    })
    return this.#opening
  }
}
