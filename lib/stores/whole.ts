import { mkdir } from 'node:fs/promises'
import { displayKey } from '../annex/key.js'
import { privateRoom, Scratch } from '../cache/scratch.js'
import { AnnexfsError } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { ObjectName, ObjectStore, StoredObject, WholeStore } from './store.js'
import { Slots } from '../slots.js'
import { WholeTransfer, type TransferOptions } from './whole-transfer.js'

export interface WholeOptions {
  /** Of the remote, for messages: `NAME (external)`. */
  readonly name: string
  /** Where files go when there is no `scratch`; made when first used. */
  readonly folder: string
  readonly log: Log
  /** The cache's room for such files, which counts against its bound. */
  readonly scratch?: Scratch
  /** Transfers at once, 2 unless told: each is a process mostly, and its own connection. */
  readonly together?: number
  /** What comes was compared with the key's hash by who brought it. */
  readonly checked?: boolean
  /** A transfer that nobody waits for goes on for so long: readers that seek come back. */
  readonly grace?: Milliseconds
  /** A file that nobody reads stays for so long. */
  readonly idle?: Milliseconds
}

const TOGETHER = 2
const GRACE: Milliseconds = 3_000
const IDLE: Milliseconds = 30_000
/** Without a cache to share a bound with. */
const PRIVATE_LIMIT: Bytes = 4 * 1024 ** 3
/** An object serves this many reads at once: they are reads of a file. */
const PARALLEL = 16

/**
 * A store of objects over one that only gives whole ones: an object is transferred once into a private file, which all
 * its readers share; the file goes when it was read wholly or is not wanted any more. Opening an object starts nothing.
 */
export function wholeObjects(store: WholeStore, options: WholeOptions): ObjectStore {
  return new WholeObjects(store, options)
}

class WholeObjects implements ObjectStore {
  readonly #store: WholeStore
  readonly #options: WholeOptions
  readonly #scratch: Scratch
  readonly #slots: Slots
  readonly #transfers = new Map<string, WholeTransfer>()
  #prepared: Promise<unknown> | undefined
  #closed = false

  constructor(store: WholeStore, options: WholeOptions) {
    this.#store = store
    this.#options = options
    this.#scratch = options.scratch ?? new Scratch(options.folder, privateRoom(PRIVATE_LIMIT), options.log)
    this.#slots = new Slots(options.together ?? TOGETHER)
  }

  async open(name: ObjectName, signal: AbortSignal): Promise<StoredObject | undefined> {
    if (this.#closed) throw new AnnexfsError('ABORTED', `${this.#options.name} was closed`)
    this.#refuseTooLarge(name)
    const id = idOf(name)
    if (!this.#transfers.has(id) && (await this.#store.has(name, signal)) === false) return undefined
    const size = name.size ?? this.#transfers.get(id)?.size
    // Looked up when the reading begins: until then it may go at any time.
    const transfer = (): WholeTransfer => this.#transfer(id, name)
    return {
      unit: size ?? Number.MAX_SAFE_INTEGER,
      longest: size ?? Number.MAX_SAFE_INTEGER,
      parallel: PARALLEL,
      whole: true,
      ...(size === undefined ? {} : { size }),
      read: async function* (range, demand) {
        yield* transfer().read(range, demand)
      },
      all: async function* (most, demand) {
        yield* transfer().all(most, demand)
      },
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#transfers.values()].map((transfer) => transfer.close()))
    await this.#store.close?.()
    if (this.#options.scratch === undefined) await this.#scratch.close()
  }

  #transfer(id: string, name: ObjectName): WholeTransfer {
    if (this.#closed) throw new AnnexfsError('ABORTED', `${this.#options.name} was closed`)
    let transfer = this.#transfers.get(id)
    if (transfer === undefined) {
      const { grace = GRACE, idle = IDLE, log, name: remote, checked = false } = this.#options
      const options: TransferOptions = {
        store: this.#store,
        object: name,
        what: `${displayKey(name.key)} from ${remote}`,
        scratch: () => this.#ready(),
        slots: this.#slots,
        log,
        grace,
        idle,
        checked,
      }
      const made: WholeTransfer = new WholeTransfer(options, () => {
        if (this.#transfers.get(id) === made) this.#transfers.delete(id)
      })
      transfer = made
      this.#transfers.set(id, made)
    }
    return transfer
  }

  async #ready(): Promise<Scratch> {
    if (this.#options.scratch === undefined) {
      this.#prepared ??= mkdir(this.#options.folder, { recursive: true, mode: 0o700 })
      await this.#prepared
    }
    return this.#scratch
  }

  #refuseTooLarge(name: ObjectName): void {
    const { most } = this.#scratch
    if (name.size === undefined || name.size <= most) return
    throw new AnnexfsError(
      'FORBIDDEN',
      `${displayKey(name.key)} is ${gib(name.size)} GiB and only comes whole from ${this.#options.name}, but the cache ` +
        `has room for ${gib(most)} GiB; give a larger --cache-size`,
    )
  }
}

function gib(bytes: Bytes): string {
  return (bytes / 1024 ** 3).toFixed(bytes < 1024 ** 3 ? 3 : 1)
}

/** Equal for names that mean the same object. */
function idOf(name: ObjectName): string {
  return [name.key.raw, name.suffix ?? '', name.path?.toString('latin1') ?? ''].join('\n')
}
