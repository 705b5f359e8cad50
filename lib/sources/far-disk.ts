import { fork, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { AnnexfsError } from '../errors.js'
import { started } from '../started.js'
import type { Disk, DiskFile } from './disk.js'
import type { DiskAnswer, DiskFailure, DiskRequest, OpenedFile } from './far-disk-messages.js'

const PROGRAM = fileURLToPath(new URL('./far-disk-process.js', import.meta.url))
/** Each place may keep four of them waiting for good. */
const THREADS = 64

/** What is asked, without its number. */
type Question = DiskRequest extends infer One ? (One extends DiskRequest ? Omit<One, 'id'> : never) : never

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

/** One life of the process. */
class Reader {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, Waiting>()
  #id = 0
  over = false

  constructor() {
    const env = { UV_THREADPOOL_SIZE: String(THREADS) }
    const child = fork(PROGRAM, [], {
      serialization: 'advanced',
      execArgv: [],
      env,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    this.#child = started(child, 'the process that reads this disk')
    this.#child.on('message', (message: DiskAnswer) => this.#answered(message))
    this.#child.on('error', () => this.#ended())
    this.#child.on('exit', () => this.#ended())
    this.#child.on('disconnect', () => this.#ended())
    this.#rest()
  }

  ask(question: Question): Promise<unknown> {
    if (this.over) return Promise.reject(gone())
    const id = ++this.#id
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#child.ref()
      this.#child.channel?.ref()
      this.#child.send({ ...question, id }, (error) => {
        if (error === null) return
        this.#settle(id)?.reject(gone())
      })
    })
  }

  kill(): void {
    this.#child.kill('SIGKILL')
    this.#ended()
  }

  #answered({ id, value, failure }: DiskAnswer): void {
    const waiting = this.#settle(id)
    if (failure === undefined) waiting?.resolve(value)
    else waiting?.reject(errorOf(failure))
  }

  #settle(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (this.#waiting.size === 0) this.#rest()
    return waiting
  }

  /** What nobody waits for keeps this process from no end. */
  #rest(): void {
    this.#child.unref()
    this.#child.channel?.unref()
  }

  #ended(): void {
    this.over = true
    this.#rest()
    for (const { reject } of this.#waiting.values()) reject(gone())
    this.#waiting.clear()
  }
}

/** One for all far disks of this process, while any of them is used. */
let reader: Reader | undefined
let users = 0

/**
 * Disks that may hang (network file systems, FUSE), read by a process of its own. A thread that waits for one cannot be
 * ended, and a process with such a thread neither; and a process with a file open on a hung FUSE file system cannot
 * start programs, because the copy of it closes the file first, which waits for that file system.
 */
export function farDisk(): Disk {
  users++
  let closed = false
  const current = (): Reader => {
    if (closed) throw gone()
    if (reader === undefined || reader.over) reader = new Reader()
    return reader
  }
  return {
    realpath: async (path) => Buffer.from((await current().ask({ what: 'realpath', path })) as Uint8Array),
    stamp: async (path) => (await current().ask({ what: 'stamp', path })) as Awaited<ReturnType<Disk['stamp']>>,
    open: async (path, size) => {
      const from = current()
      const opened = (await from.ask({ what: 'open', path: Buffer.from(path), size })) as OpenedFile | undefined
      return opened === undefined ? undefined : fileOf(from, opened)
    },
    close: () => {
      if (closed) return
      closed = true
      users--
      if (users > 0) return
      reader?.kill()
      reader = undefined
    },
  }
}

function fileOf(from: Reader, { file, size, settled, version }: OpenedFile): DiskFile {
  return {
    size,
    settled,
    version,
    read: async (offset, length) => (await from.ask({ what: 'read', file, offset, length })) as Uint8Array,
    // Nobody waits for it: it may hang, too.
    close: () => void from.ask({ what: 'close', file }).catch(() => undefined),
  }
}

function gone(): AnnexfsError {
  return new AnnexfsError('UNAVAILABLE', 'the process that reads this disk has ended')
}

function errorOf({ message, code, system }: DiskFailure): Error {
  if (code !== undefined) return new AnnexfsError(code, message)
  return Object.assign(new Error(message), system === undefined ? {} : { code: system })
}
