import { AnnexfsError, isAnnexfsError, reasonOf } from '../errors.js'
import type { Content } from '../engine/content.js'
import type { OpenFile, Volume } from '../engine/volume.js'
import type { Log } from '../log/log.js'
import { rateLimited } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { Entry, FileNode, Node } from '../tree/tree.js'
import { AttributeValues, isUserAttribute, nameList, putAttribute } from './attribute-values.js'
import { clampTime, entryStat, packStat, shownSize, STAT_WORDS, type Stat } from './attributes.js'
import { packCapacity } from './capacity.js'
import { Deadlines } from './deadline.js'
import { DirectReads } from './direct-reads.js'
import { ERRNO, errnoOf } from './errno.js'
import { Failures } from './failures.js'
import { Handles } from './handles.js'
import { Listings } from './listings.js'
import { showable } from './names.js'
import type { NativeHandlers, Signal } from './native.js'
import { nativePart } from './native-part.js'
import { Orphans } from './orphans.js'
import type { Pin } from './pins.js'
import { Pins } from './pins.js'
import { Reads } from './reads.js'
import { ToldSizes } from './told-sizes.js'

/** How long the kernel keeps attributes: one round trip for each file of `ls -l`. */
export const ATTRIBUTE_TIMEOUT: Milliseconds = 100
/** An answer may be on its way to the kernel for some time after we gave it: on a busy machine its thread has to wait for its turn. */
const DELIVERY: Milliseconds = 200
/** O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND. */
const WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000
/** readlink(2) gives no more. */
const LINK_MAX = 4095

export interface OperationsOptions {
  readonly readTimeout: Milliseconds
  readonly log: Log
  /** Processes of other users may use the mount. */
  readonly allowOther: boolean
  /** Told of every read that waits. */
  readonly gauge: { started(): void; ended(): void }
}

/**
 * The file system operations over a {@link Volume}. Requests come on the main thread one at a time; what is shared
 * between them (handles, pins, sizes told) changes only between awaits.
 */
export class Operations {
  readonly handlers: NativeHandlers
  readonly #volume: Volume
  readonly #log: Log
  readonly #deadlines: Deadlines
  readonly #reads: Reads
  readonly #values: AttributeValues
  readonly #handles = new Handles()
  readonly #pins = new Pins()
  readonly #orphans: Orphans
  readonly #told = new ToldSizes(ATTRIBUTE_TIMEOUT + DELIVERY)
  readonly #native = nativePart()
  readonly #direct = new DirectReads(this.#native)
  readonly #listings = new Listings(ATTRIBUTE_TIMEOUT + DELIVERY)
  /** By which the native part knows this mount. */
  readonly #mount = ++mounts
  readonly #uid = process.getuid?.() ?? 0
  readonly #gid = process.getgid?.() ?? 0

  constructor(volume: Volume, options: OperationsOptions) {
    this.#volume = volume
    this.#log = rateLimited(options.log, 1000)
    this.#deadlines = new Deadlines(options.readTimeout)
    this.#orphans = new Orphans({
      log: this.#log,
      others: options.allowOther,
      handles: () => this.#handles.values(),
    })
    const gauge = {
      started: () => {
        options.gauge.started()
        this.#orphans.watch()
      },
      ended: () => options.gauge.ended(),
    }
    this.#reads = new Reads({ timeout: options.readTimeout, log: this.#log, gauge })
    this.#values = new AttributeValues(volume)
    this.handlers = this.#makeHandlers()
  }

  stats(): { openFiles: number; waitingReads: number; lateReads: number } {
    return { openFiles: this.#handles.size, waitingReads: this.#reads.waiting, lateReads: this.#reads.late }
  }

  /** Ends everything that waits, and lets nothing new wait. Names and attributes are still answered. */
  stop(): void {
    this.#deadlines.stop()
    this.#direct.stop()
    this.#orphans.stop()
    const reason = new AnnexfsError('ABORTED', 'the file system is being unmounted')
    for (const handle of this.#handles.values()) for (const read of handle.waiting) read.abort(reason)
  }

  /** Closes what the kernel will not release any more. */
  closeAll(): void {
    for (const [number, handle] of Array.from(this.#handles.entries())) {
      this.#handles.remove(number)
      this.#close(handle.file, handle.pin.path)
    }
  }

  #makeHandlers(): NativeHandlers {
    return {
      getattr: (signal, path) => this.#getattr(signal, path),
      readlink: (signal, path) => this.#readlink(signal, path),
      readdir: (signal, path) => this.#readdir(signal, path),
      statfs: (signal, path) => {
        const capacity = this.#deadlines.run(`the size of ${path}`, () => this.#volume.capacity())
        this.#answer(signal, path, capacity, (value) => signal(0, packCapacity(value)))
      },
      open: (signal, path, flags) => {
        if ((flags & WRITING) !== 0) signal(ERRNO.EROFS)
        else this.#answer(signal, path, this.#open(path), (number) => signal(0, number))
      },
      read: (signal, path, number, view, length, low, high) => {
        const answer = (result: number): void => signal(result, 0, view.buffer)
        const handle = this.#handles.get(number)
        if (handle === undefined) answer(ERRNO.EBADF)
        else if (this.#deadlines.stopped) answer(ERRNO.EIO)
        else {
          const { file, waiting, failures, pin } = handle
          pin.gate?.open()
          this.#direct.comes(number)
          const offset = low + high * 2 ** 32
          if (this.#reads.start({ path, file, waiting, failures, view, length, offset, answer })) {
            this.#direct.served(number, handle)
          } else this.#direct.waited(number, handle)
        }
      },
      flush: (signal, _path, number) => {
        signal(0)
        const handle = this.#handles.get(number)
        if (handle === undefined || handle.flushed) return
        handle.flushed = true
        handle.pin.flushed += 1
      },
      release: (signal, path, number) => {
        signal(0)
        this.#release(path, number)
      },
      getxattr: (signal, path, name, view) => {
        if (!isUserAttribute(name)) signal(ERRNO.EOPNOTSUPP, view.buffer)
        else {
          this.#attributes(signal, path, view, (values) => {
            const value = values.get(name)
            return value === undefined ? ERRNO.ENODATA : putAttribute(Buffer.from(value), view)
          })
        }
      },
      listxattr: (signal, path, view) => {
        this.#attributes(signal, path, view, (values) => putAttribute(nameList(values), view))
      },
      setxattr: (signal, _path, _name, view) => signal(ERRNO.EROFS, view.buffer),
      write: (signal, _path, _number, view) => signal(ERRNO.EROFS, 0, view.buffer),
      refuse: (signal) => signal(ERRNO.EROFS),
    }
  }

  #getattr(signal: Signal<[Uint32Array?]>, path: string): void {
    const pin = this.#pins.get(path)
    if (pin !== undefined) {
      signal(0, this.#stat(path, pin.node, pin))
      return
    }
    this.#withNode(signal, path, (node) => signal(0, this.#stat(path, node, this.#pins.get(path))))
  }

  #stat(path: string, node: Node<Content>, pin: Pin | undefined): Uint32Array {
    const shown = pin?.node ?? node
    const size = pin?.size ?? shownSize(shown)
    if (shown.kind === 'file') this.#told.tell(path, size, performance.now())
    return packStat(this.#statOf(path, shown, size))
  }

  #statOf(path: string, node: Node<Content>, size: Bytes): Stat {
    const mtime = node.kind === 'file' ? this.#pins.shownTime(path, node) : clampTime(node.mtime)
    return { node, size, mtime, uid: this.#uid, gid: this.#gid }
  }

  #readlink(signal: Signal<[string?]>, path: string): void {
    this.#withNode(signal, path, (node) => {
      if (node.kind !== 'link') signal(ERRNO.EINVAL)
      else if (Buffer.byteLength(node.target) > LINK_MAX) signal(ERRNO.ENAMETOOLONG)
      else signal(0, node.target)
    })
  }

  #readdir(signal: Signal<[(readonly string[])?, (readonly Uint32Array[])?]>, path: string): void {
    const listing = this.#deadlines.run(`listing ${path}`, (abort) => this.#volume.list(path, abort))
    this.#answer(signal, path, listing, (entries) => {
      const names = ['.', '..']
      const stats = [entryStat(THIS_FOLDER), entryStat(THIS_FOLDER)]
      const whole = this.#native !== undefined && entries.length <= MOST_WHOLE
      const words = whole ? new Uint32Array(entries.length * STAT_WORDS) : undefined
      const parent = path === '/' ? '/' : `${path}/`
      for (const entry of showable(entries)) {
        const at = (names.length - 2) * STAT_WORDS
        names.push(entry.name)
        stats.push(this.#entryStat(parent, entry, words?.subarray(at, at + STAT_WORDS)))
      }
      if (whole) this.#listings.given(path, entries, performance.now())
      signal(0, names, stats)
    })
  }

  /** All attributes of an entry, put into `words`, so that the native part can tell them a moment later; or its kind only. */
  #entryStat(parent: string, { name, node }: Entry<Content>, words?: Uint32Array<ArrayBuffer>): Uint32Array {
    if (words === undefined || (node.kind === 'file' && node.size === undefined)) return entryStat(node)
    const path = parent + name
    if (node.kind === 'file' && this.#pins.get(path) !== undefined) return entryStat(node)
    return packStat(this.#statOf(path, node, shownSize(node)), words, this.#mount)
  }

  /** A path whose content was found wrong shows another one when its last handle is gone, which we learn a moment late. */
  async #open(path: string): Promise<number> {
    for (let tries = 0; ; tries++) {
      try {
        return await this.#openOnce(path)
      } catch (error) {
        if (!(error instanceof OtherContent) || tries >= RELEASE_TRIES) throw error
        await this.#deadlines.wait(RELEASE_PAUSE)
      }
    }
  }

  async #openOnce(path: string): Promise<number> {
    await this.#closing(path)
    const node = this.#pins.get(path)?.node ?? (await this.#fileAt(path))
    const pin = this.#pins.take(path, this.#pins.get(path)?.node ?? node)
    // What it shows while it is open, only we know.
    this.#native?.forget(this.#mount, path)
    try {
      const file = await this.#deadlines.run(
        `opening ${path}`,
        (abort) => this.#volume.open(pin.node, path, abort),
        (late) => this.#close(late, path),
      )
      try {
        return await this.#opened(pin, file)
      } catch (error) {
        this.#close(file, path)
        throw error
      }
    } catch (error) {
      this.#pins.release(pin)
      throw error
    }
  }

  /**
   * Waits a moment where a path shows something else by now, and all who have it open have closed it: the kernel tells us so
   * after it has told them, and what they had must not be read by who opens the path afterwards.
   */
  async #closing(path: string): Promise<void> {
    const pin = this.#pins.get(path)
    if (pin === undefined || pin.flushed < pin.handles) return
    const node = await this.#nodeAt(path)
    if (node?.kind === 'file' && node.content.id === pin.node.content.id) return
    for (let tries = 0; tries < RELEASE_TRIES && this.#pins.get(path) === pin; tries++) {
      await this.#deadlines.wait(RELEASE_PAUSE)
    }
  }

  /** Lets the kernel forget another size, and gives the open file its number. */
  async #opened(pin: Pin, file: OpenFile): Promise<number> {
    if (!this.#pins.found(pin, file.contentId, file.size)) {
      throw new OtherContent()
    }
    const now = performance.now()
    const remaining = Math.max(
      this.#told.remaining(pin.path, file.size, now),
      this.#listings.remaining(pin.path, file.size, now),
    )
    if (remaining > 0) await this.#deadlines.wait(remaining)
    await this.#pins.turn(pin)
    if (this.#deadlines.stopped) throw new AnnexfsError('ABORTED', 'the file system is being unmounted')
    return this.#handles.add({ file, pin, waiting: new Set(), failures: new Failures(), served: 0, flushed: false })
  }

  async #nodeAt(path: string): Promise<Node<Content> | undefined> {
    const found = this.#volume.lookup(path, this.#deadlines.signal)
    return found instanceof Promise ? this.#deadlines.run(`looking up ${path}`, () => found) : found
  }

  async #fileAt(path: string): Promise<FileNode<Content>> {
    const node = await this.#nodeAt(path)
    if (node === undefined) throw new AnnexfsError('NOT_FOUND', 'no such file')
    if (node.kind === 'file') return node
    throw new AnnexfsError(node.kind === 'dir' ? 'IS_A_DIRECTORY' : 'INVALID', 'not a file')
  }

  #release(path: string, number: number): void {
    this.#direct.revoke(number)
    const handle = this.#handles.remove(number)
    if (handle === undefined) return
    for (const read of handle.waiting) read.abort(new AnnexfsError('ABORTED', 'the file was closed'))
    this.#pins.release(handle.pin, handle.flushed)
    this.#close(handle.file, path)
  }

  #close(file: OpenFile, path: string): void {
    try {
      file.close()
    } catch (error) {
      this.#log.warn(`cannot close ${path}`, { reason: reasonOf(error) })
    }
  }

  #attributes(
    signal: Signal<[ArrayBufferLike]>,
    path: string,
    view: Uint8Array,
    result: (values: ReadonlyMap<string, string>) => number,
  ): void {
    this.#withNode(
      (errno) => signal(errno, view.buffer),
      path,
      (node) => {
        const values = this.#deadlines.run(`the attributes of ${path}`, () => this.#values.of(path, node))
        const refuse = (errno: number): void => signal(errno, view.buffer)
        this.#answer(refuse, path, values, (found) => signal(result(found), view.buffer))
      },
    )
  }

  /** Answers from the node at `path` (the pinned one while it is open), at once where the tree can. */
  #withNode(refuse: (errno: number) => void, path: string, then: (node: Node<Content>) => void): void {
    let found: ReturnType<Volume['lookup']>
    try {
      found = this.#pins.get(path)?.node ?? this.#volume.lookup(path, this.#deadlines.signal)
    } catch (error) {
      this.#refuse(refuse, path, error)
      return
    }
    const answer = (node: Node<Content> | undefined): void => {
      if (node === undefined) refuse(ERRNO.ENOENT)
      else then(node)
    }
    if (found instanceof Promise) {
      const later = found
      const lookup = this.#deadlines.run(`looking up ${path}`, () => later)
      this.#answer(refuse, path, lookup, answer)
    } else answer(found)
  }

  #answer<T>(refuse: (errno: number) => void, path: string, promise: Promise<T>, then: (value: T) => void): void {
    promise.then(then, (error: unknown) => this.#refuse(refuse, path, error))
  }

  #refuse(refuse: (errno: number) => void, path: string, error: unknown): void {
    const errno = errnoOf(error)
    // Who gave up, or unmounted, knows.
    const expected = errno === ERRNO.ENOENT || isAnnexfsError(error, 'ABORTED')
    if (!expected) this.#log.warn(`cannot serve ${path}`, { reason: reasonOf(error) })
    refuse(errno)
  }
}

/** How long an open waits for the release of handles that were closed just before. */
const RELEASE_TRIES = 5
const RELEASE_PAUSE: Milliseconds = 60

class OtherContent extends AnnexfsError {
  constructor() {
    super('CORRUPT', 'the content changed while it was open; close it everywhere and open it again')
  }
}

/** Folders with more entries are listed without attributes: names.c would not keep them. */
const MOST_WHOLE = 16_384
let mounts = 0

const THIS_FOLDER = { kind: 'dir', mtime: 0 } as const
