import { openFile } from '../cache/folder.js'
import type { Scratch, ScratchFile } from '../cache/scratch.js'
import { Changes } from '../changes.js'
import { abortError, AnnexfsError, isAnnexfsError, reasonOf, systemCode, throwIfAborted } from '../errors.js'
import { progress } from '../log/amounts.js'
import type { Log } from '../log/log.js'
import type { Asking } from '../space/awaited.js'
import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'
import { checkInside } from '../sources/range.js'
import { checkFile } from './whole-check.js'
import { ReadFile, sizeOnDisk } from './whole-file.js'
import { RangeSet } from './whole-ranges.js'
import type { Slots } from '../slots.js'
import type { ObjectName, WholeStore } from './store.js'

export interface TransferOptions {
  readonly store: WholeStore
  readonly object: ObjectName
  /** `KEY from REMOTE`, for messages. */
  readonly what: string
  readonly scratch: () => Promise<Scratch>
  readonly slots: Slots
  readonly log: Log
  readonly grace: Milliseconds
  readonly idle: Milliseconds
  readonly checked: boolean
}

/** Bytes are taken out of the file in steps of this many. */
const STEP: Bytes = 256 * 1024
/** How often the growing file is looked at. */
const LOOK_EVERY: Milliseconds = 100
/** When other transfers have all the room, it is asked for again this often. */
const ROOM_EVERY: Milliseconds = 500
/** What was brought of an object before a failure waits this long for another try. */
const PARTIAL_FOR: Milliseconds = 120_000
/** All of it was read, so it is cached now, most likely: what comes soon after it are repetitions. */
const READ_FOR: Milliseconds = 2_000
/** Progress is logged this often. */
const SAY_EVERY: Milliseconds = 10_000

/** One try to bring the object. */
interface Run {
  readonly control: AbortController
  /** Never rejects. */
  ended: Promise<void>
  /** Set when it has ended without the whole object. */
  error?: Error
  /** Nobody wanted it any more. */
  cancelled: boolean
  /** What it is about, for those who wait. */
  stage: 'waits for others' | 'waits for room' | 'comes' | 'is checked'
}

/**
 * One object on its way into a file, and then that file. State is owned here: readers come and go; the first starts a
 * run; a run that nobody waits for is cancelled after a while; the file stays for readers that come soon.
 */
export class WholeTransfer {
  readonly #options: TransferOptions
  readonly #ended: () => void
  readonly #readOut = new RangeSet()
  #file: ScratchFile | undefined
  #run: Run | undefined
  #readers = 0
  #timer: NodeJS.Timeout | undefined
  #open: ReadFile | undefined
  /** How often what had come turned out to be wrong: what comes then does not continue it. */
  #wrongs = 0
  /** The file's bytes below this are the object's. */
  #usable: Bytes = 0
  #progress: Bytes = 0
  /** What there is of it, told or seen, and since when it has been no more. */
  #come: { readonly bytes: Bytes; readonly since: Milliseconds } = { bytes: 0, since: 0 }
  #size: Bytes | undefined
  #closed = false
  readonly #changes = new Changes()

  /** @param ended is called when it holds nothing any more. */
  constructor(options: TransferOptions, ended: () => void) {
    this.#options = options
    this.#ended = ended
  }

  /** The object's size, once it is complete. */
  get size(): Bytes | undefined {
    return this.#size
  }

  async *read(range: ByteRange, asking: Asking): AsyncGenerator<Uint8Array, void, undefined> {
    const { object, what } = this.#options
    if (object.size !== undefined) checkInside(range, object.size, what)
    this.#enter()
    try {
      let wrongs = this.#wrongs
      for (let at = range.start; at < range.end;) {
        const usable = await this.#beyond(at, asking)
        if (wrongs !== this.#wrongs) {
          this.#checkUnread(at === range.start)
          wrongs = this.#wrongs
          continue
        }
        if (usable <= at) throw new AnnexfsError('CORRUPT', `${what} has only ${usable} bytes`)
        const bytes = await this.#bytes(at, Math.min(range.end, usable, at + STEP))
        yield bytes
        at += bytes.byteLength
      }
      this.#readOut.add(range)
    } finally {
      this.#leave()
    }
  }

  async *all(most: Bytes, asking: Asking): AsyncGenerator<Uint8Array, void, undefined> {
    this.#enter()
    try {
      let at = 0
      let wrongs = this.#wrongs
      for (;;) {
        const usable = await this.#beyond(at, asking)
        if (wrongs !== this.#wrongs) {
          this.#checkUnread(at === 0)
          wrongs = this.#wrongs
          continue
        }
        if (usable > most) throw new AnnexfsError('CORRUPT', `${this.#options.what} has more than ${most} bytes`)
        if (usable <= at) break
        const bytes = await this.#bytes(at, Math.min(usable, at + STEP))
        yield bytes
        at += bytes.byteLength
      }
      this.#readOut.add({ start: 0, end: at })
    } finally {
      this.#leave()
    }
  }

  /** Ends the transfer and removes the file; waits until nobody writes to it. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    const run = this.#run
    if (run !== undefined) {
      run.control.abort(new AnnexfsError('ABORTED', `${this.#options.what}: the remote was closed`))
      await run.ended
    }
    await this.#drop()
  }

  #enter(): void {
    this.#readers++
    clearTimeout(this.#timer)
    if (this.#file !== undefined) this.#file.giveUp = undefined
  }

  #leave(): void {
    this.#readers--
    if (this.#readers === 0 && !this.#closed) this.#rest()
  }

  /** Nobody reads: what there is goes, sooner or later. */
  #rest(): void {
    clearTimeout(this.#timer)
    const { grace, idle } = this.#options
    const run = this.#run
    if (run !== undefined) {
      this.#timer = setTimeout(() => {
        run.cancelled = true
        run.control.abort(new AnnexfsError('ABORTED', `${this.#options.what}: nobody waits for it any more`))
      }, grace).unref()
      return
    }
    const drop = (): Promise<void> => this.#drop()
    if (this.#file !== undefined) this.#file.giveUp = drop
    const whole = this.#size !== undefined && this.#readOut.covers({ start: 0, end: this.#size })
    const kept = this.#size !== undefined ? idle : this.#file === undefined ? 0 : PARTIAL_FOR
    const wait = whole ? Math.min(READ_FOR, idle) : kept
    this.#timer = setTimeout(() => {
      drop().catch((error: unknown) => {
        this.#options.log.warn('the file of a transfer cannot be removed', {
          transfer: this.#options.what,
          reason: reasonOf(error),
        })
      })
    }, wait).unref()
  }

  async #drop(): Promise<void> {
    if (this.#readers > 0 && !this.#closed) return
    clearTimeout(this.#timer)
    this.#ended()
    // Readers that come from now on start anew, with another transfer.
    this.#closed = true
    const file = this.#file
    this.#file = undefined
    this.#open?.close()
    this.#open = undefined
    this.#changes.tell()
    await file?.remove()
  }

  /** Waits until there is something beyond `at`, or the end is known. @returns up to where the file can be read. */
  async #beyond(at: Bytes, { signal, awaits }: Asking): Promise<Bytes> {
    let over: (() => void) | undefined
    try {
      for (;;) {
        throwIfAborted(signal)
        if (this.#size !== undefined) return this.#size
        if (this.#usable > at) return this.#usable
        if (this.#closed) throw new AnnexfsError('ABORTED', `${this.#options.what}: the remote was closed`)
        const run = (this.#run ??= this.#start())
        over ??= awaits?.(() => this.#awaited())
        await this.#changes.next(signal)
        if (run.error !== undefined && !run.cancelled && this.#usable <= at) throw run.error
      }
    } finally {
      over?.()
    }
  }

  #awaited(): string | undefined {
    switch (this.#run?.stage) {
      case 'waits for others':
        return 'only gives whole objects, and other transfers have to end first'
      case 'waits for room':
        return 'only gives whole objects, and the cache has no room for this one now'
      case 'comes':
        return `the whole object is coming, ${this.#share()}`
      case 'is checked':
        return 'the whole object has come and is compared with its key'
      case undefined:
        return undefined
    }
  }

  #bytes(start: Bytes, end: Bytes): Promise<Uint8Array> {
    const { what } = this.#options
    if (this.#open === undefined) throw new AnnexfsError('ABORTED', `${what}: the remote was closed`)
    return this.#open.bytes(start, end, what)
  }

  /** @throws AnnexfsError CORRUPT when bytes have been given that turned out wrong since. */
  #checkUnread(nothingGiven: boolean): void {
    if (nothingGiven) return
    throw new AnnexfsError('CORRUPT', `${this.#options.what}: what had come of it turned out to be wrong`)
  }

  #start(): Run {
    const run: Run = {
      control: new AbortController(),
      ended: Promise.resolve(),
      cancelled: false,
      stage: 'waits for others',
    }
    run.ended = this.#bring(run).then(
      () => this.#finished(run, undefined),
      (error: unknown) => this.#finished(run, error),
    )
    return run
  }

  #finished(run: Run, error: unknown): void {
    const { log, what } = this.#options
    if (error !== undefined) {
      const given = run.control.signal.aborted ? abortError(run.control.signal) : error
      run.error =
        given instanceof AnnexfsError
          ? given
          : new AnnexfsError('UNAVAILABLE', `${what}: ${reasonOf(given)}`, { cause: given })
      log.info('transfer failed', { transfer: what, reason: run.error.message })
    }
    this.#run = undefined
    this.#progress = 0
    if (this.#size === undefined) this.#usable = 0
    this.#changes.tell()
    if (this.#readers === 0 && !this.#closed) this.#rest()
  }

  async #bring(run: Run): Promise<void> {
    const { slots, store, object, log, what } = this.#options
    const { signal } = run.control
    const leave = await slots.take(signal)
    run.stage = 'waits for room'
    let looking: NodeJS.Timeout | undefined
    try {
      const file = (this.#file ??= await this.#room(signal))
      run.stage = 'comes'
      this.#come = { bytes: 0, since: performance.now() }
      const started = Date.now()
      let said = started
      let look = Promise.resolve()
      let busy = false
      looking = setInterval(() => {
        if (busy) return
        busy = true
        look = this.#look(run, file).then(() => void (busy = false))
        if (Date.now() - said < SAY_EVERY) return
        said = Date.now()
        log.info(`transfer of ${what}: ${this.#share()}`)
      }, LOOK_EVERY)
      try {
        await store.retrieve(object, file.path, { signal, progress: (bytes) => (this.#progress = bytes) })
      } finally {
        clearInterval(looking)
        await look
      }
      throwIfAborted(signal)
      await this.#complete(run, file)
      log.info('transferred', { transfer: what, bytes: this.#size, ms: Date.now() - started })
    } catch (error) {
      // What is wrong is no beginning for another try.
      if (isAnnexfsError(error, 'CORRUPT') || isAnnexfsError(signal.reason, 'CORRUPT')) await this.#forget()
      throw error
    } finally {
      leave()
    }
  }

  async #forget(): Promise<void> {
    this.#wrongs++
    this.#open?.close()
    this.#open = undefined
    this.#usable = 0
    const file = this.#file
    this.#file = undefined
    await file?.remove()
  }

  /** `3.1 of 24.0 MiB` */
  #share(): string {
    const { bytes, since } = this.#come
    return progress(bytes, this.#options.object.size, performance.now() - since)
  }

  async #room(signal: AbortSignal): Promise<ScratchFile> {
    const { object, what, log } = this.#options
    const scratch = await this.#options.scratch()
    for (let first = true; ; first = false) {
      throwIfAborted(signal)
      const file = await scratch.take(object.size ?? 0)
      if (file !== undefined) return file
      if (first) log.info('transfer waits for room in the cache', { transfer: what, bytes: object.size })
      await new Promise((resolve) => setTimeout(resolve, ROOM_EVERY))
    }
  }

  /** Looks at the file while it grows; never rejects. */
  async #look(run: Run, file: ScratchFile): Promise<void> {
    const { object, store, what } = this.#options
    try {
      const status = await sizeOnDisk(file.path)
      // Not all tell how far they are; what they have only set aside for the file takes no blocks.
      const come = this.#progress > 0 ? this.#progress : Math.min(status.size, status.blocks * 512)
      if (come !== this.#come.bytes) this.#come = { bytes: come, since: performance.now() }
      if (object.size !== undefined && status.size > object.size) throw this.#otherSize(status.size)
      const held = await file.hold(Math.max(status.size, object.size === undefined ? this.#progress : 0))
      if (!held || !(await file.grown(status.blocks * 512))) {
        throw new AnnexfsError(
          'UNAVAILABLE',
          `${what} only comes whole, and the cache has no room for more than ${status.size} bytes of it; give a ` +
            `larger --cache-size`,
        )
      }
      if (!store.ordered) return
      const usable = Math.min(status.size, this.#progress)
      if (usable <= this.#usable) return
      this.#openFile(file)
      this.#usable = usable
      this.#changes.tell()
    } catch (error) {
      // Just being replaced.
      if (systemCode(error) === 'ENOENT') return
      run.control.abort(error)
    }
  }

  /** Opens the file as it is now, unless it is open already. */
  #openFile(file: ScratchFile): ReadFile {
    const now = new ReadFile(openFile(file.path, 'read'))
    const before = this.#open
    if (before?.isSameAs(now) === true) {
      now.close()
      return before
    }
    before?.close()
    this.#open = now
    return now
  }

  async #complete(run: Run, file: ScratchFile): Promise<void> {
    const { object, what } = this.#options
    let open: ReadFile
    try {
      open = this.#openFile(file)
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      throw new AnnexfsError('CORRUPT', `${what}: the transfer is said to have succeeded, but there is no file`)
    }
    open.makePrivate()
    const { size, blocks } = open.status()
    if (object.size !== undefined && size !== object.size) throw this.#otherSize(size)
    if (!(await file.hold(size)) || !(await file.grown(blocks * 512))) {
      throw new AnnexfsError('UNAVAILABLE', `${what} only comes whole, and the cache has no room for its ${size} bytes`)
    }
    file.complete()
    // All of it is here before any byte is given: then its hash is looked at first, where it has one.
    if (!this.#options.checked && !this.#options.store.ordered) {
      run.stage = 'is checked'
      await checkFile(object, file.path, size, what, run.control.signal)
    }
    this.#size = size
    this.#changes.tell()
  }

  #otherSize(size: Bytes): AnnexfsError {
    const { object, what } = this.#options
    const relation = size > (object.size ?? 0) ? 'more' : 'less'
    return new AnnexfsError('CORRUPT', `${what}: ${size} bytes came, ${relation} than its ${object.size}`)
  }
}
