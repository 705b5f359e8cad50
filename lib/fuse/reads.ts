import { AnnexfsError, reasonOf } from '../errors.js'
import type { OpenFile } from '../engine/volume.js'
import type { Log } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { ERRNO, readErrnoOf } from './errno.js'
import type { Failures } from './failures.js'

/** One read(2) as the kernel asks for it. `view` is the kernel's answer: after `answer` it is never touched again. */
export interface ReadRequest {
  readonly path: string
  readonly file: OpenFile
  /** Where the read's abort is kept while it waits. */
  readonly waiting: Set<AbortController>
  /** The failures of this open file. */
  readonly failures: Failures
  readonly view: Uint8Array
  readonly length: Bytes
  readonly offset: Bytes
  /** Takes a count or a negative errno, once. */
  readonly answer: (result: number) => void
}

/** How long a reader whose deadline has passed may take to say what it was waiting for. */
const LAST_WORDS: Milliseconds = 50

/** Reads under a deadline: never short before end of file, never late into a buffer that was given back. */
export class Reads {
  readonly #timeout: Milliseconds
  readonly #log: Log
  readonly #gauge: { started(): void; ended(): void }
  #waiting = 0
  #late = 0

  constructor(options: { timeout: Milliseconds; log: Log; gauge: { started(): void; ended(): void } }) {
    this.#timeout = options.timeout
    this.#log = options.log
    this.#gauge = options.gauge
  }

  /** Reads that are not answered yet. */
  get waiting(): number {
    return this.#waiting
  }

  /** Reads whose bytes came after their deadline or release, and were dropped. */
  get late(): number {
    return this.#late
  }

  /** True when it was served at once. */
  start(request: ReadRequest): boolean {
    const { file, offset, view } = request
    const expected = Math.max(0, Math.min(request.length, view.length, file.size - offset))
    if (expected === 0) {
      request.answer(0)
      return false
    }
    const failed = request.failures.find(offset, offset + expected, performance.now())
    if (failed !== undefined) {
      request.answer(failed)
      return false
    }
    const controller = new AbortController()
    let result: number | Promise<Uint8Array>
    try {
      result = file.read(
        offset,
        expected,
        expected === view.length ? view : view.subarray(0, expected),
        controller.signal,
      )
    } catch (error) {
      request.answer(this.#failed(request, error))
      return false
    }
    if (typeof result !== 'number') {
      this.#wait(request, result, expected, controller)
      return false
    }
    request.answer(result === expected ? expected : this.#failed(request, wrongCount(result, expected)))
    return result === expected
  }

  #wait(request: ReadRequest, result: Promise<Uint8Array>, expected: Bytes, controller: AbortController): void {
    let answered = false
    let over = false
    const answer = (count: number): void => {
      answered = true
      clearTimeout(timer)
      request.waiting.delete(controller)
      this.#waiting -= 1
      this.#gauge.ended()
      request.answer(count)
    }
    let timer = setTimeout(() => {
      const error = new AnnexfsError('TIMED_OUT', `no source gave the bytes within ${this.#timeout} ms`)
      over = true
      controller.abort(error)
      // The reader knows better what it was waiting for, and says so; if it is quick about it.
      timer = setTimeout(() => answer(this.#failed(request, error)), LAST_WORDS)
    }, this.#timeout)
    controller.signal.addEventListener(
      'abort',
      () => {
        if (!answered && !over) answer(ERRNO.EIO)
      },
      { once: true },
    )
    request.waiting.add(controller)
    this.#waiting += 1
    this.#gauge.started()
    result.then(
      (bytes) => {
        if (answered) {
          this.#late += 1
        } else if (bytes.length === expected) {
          request.view.set(bytes)
          answer(expected)
        } else {
          answer(this.#failed(request, wrongCount(bytes.length, expected)))
        }
      },
      (error: unknown) => {
        if (answered) this.#late += 1
        else answer(this.#failed(request, error))
      },
    )
  }

  #failed(request: ReadRequest, error: unknown): number {
    this.#log.warn(`cannot read ${request.path}`, { offset: request.offset, reason: reasonOf(error) })
    const errno = readErrnoOf(error)
    request.failures.add(request.offset, request.offset + request.length, errno, performance.now())
    return errno
  }
}

function wrongCount(count: Bytes, expected: Bytes): AnnexfsError {
  return new AnnexfsError('CORRUPT', `the reader gave ${count} bytes where ${expected} were to come`)
}
