import { Changes } from '../changes.js'
import { displayKey, type Key } from '../annex/key.js'
import { AnnexfsError, isAnnexfsError, throwIfAborted } from '../errors.js'
import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'
import { BackOff } from './back-off.js'
import { chooseConnection, leadsTo, type Wish } from './p2p-choice.js'
import type { P2pConnection } from './p2p-connection.js'
import { unlessAborted } from './ssh-channel.js'

/** Processes at the host that one remote may have. */
const MOST_CONNECTIONS = 4
/** A connection in the middle of content keeps a process at the host waiting. */
const IDLE_SENDING: Milliseconds = 10_000
const IDLE: Milliseconds = 60_000
/** A read that could go on with a busy connection waits for it so long. */
const LONGEST_FOLLOW: Milliseconds = 2_000
/** A connection that was silent for so long while it was read from is not trusted to wake up. */
const STALLED: Milliseconds = 1_000
/** Before anything was measured. */
const FIRST_REOPENING: Milliseconds = 200
const FIRST_RATE = 4_096
/** So much may lie ready on this side after a pause (the window of ssh), and says nothing about the rate of the line. */
const READY: Bytes = 2 * 1024 * 1024
const LEAST_MEASURED: Bytes = 256 * 1024
const CHUNK: Bytes = 256 * 1024

/** A connection and what the pool knows of it. */
interface Entry {
  readonly connection: P2pConnection
  busy: boolean
  /** Where the read that it serves ends. */
  until?: Bytes
  used: Milliseconds
  timer?: NodeJS.Timeout
}

export interface P2pPoolOptions {
  /** Opens a session. */
  readonly connect: () => Promise<P2pConnection>
  /** Told when one did not answer in time: what it shares with the others may be dead. */
  readonly silent: () => Promise<void>
}

/**
 * The sessions of one remote. Owns them all: a read borrows one and gives it back, in the middle of content if that is
 * where it ended. The next read goes on there, or drains the rest when that is quicker than a new session, or has it
 * closed for one.
 */
export class P2pPool {
  readonly #options: P2pPoolOptions
  readonly #entries = new Set<Entry>()
  readonly #changes = new Changes()
  readonly #costs = { reopening: FIRST_REOPENING, rate: FIRST_RATE }
  #measured: { bytes: Bytes; time: Milliseconds } = { bytes: 0, time: 0 }
  #opening = 0
  #connected = false
  readonly #backOff = new BackOff()
  #closed = false
  #receivedBefore: Bytes = 0

  constructor(options: P2pPoolOptions) {
    this.#options = options
  }

  /** Bytes received by all its sessions. */
  get received(): Bytes {
    return [...this.#entries].reduce((sum, { connection }) => sum + connection.received, this.#receivedBefore)
  }

  /** Whether the remote has `key`. @throws AnnexfsError UNAVAILABLE, TIMED_OUT, INVALID, ABORTED. */
  async present(key: Key, signal: AbortSignal): Promise<boolean> {
    const { entry, result } = await this.#ask(undefined, signal, (connection) => connection.present(key))
    this.#giveBack(entry)
    return result
  }

  /** The size of content that does not say it in its key; undefined when it is not there. @throws as {@link present}. */
  async size(key: Key, signal: AbortSignal): Promise<Bytes | undefined> {
    const wish = { key: key.raw, start: 0, size: undefined }
    const { entry, result } = await this.#ask(wish, signal, async (connection) => {
      const sending = connection.sending ?? (await connection.get(key, 0))
      // What is sent of it is left for the read that will follow.
      if (sending.end > 0) return sending.end
      return (await connection.finish()) ? 0 : undefined
    })
    this.#giveBack(entry)
    return result
  }

  /**
   * The bytes of `range`, which is not empty, of the content of `key`, which has `size` bytes. At the end of the content
   * the other side says whether it was the same all the time, and the last bytes are given only after it did. Of a
   * range that ends before, it never says so: the bytes then are as good as those of a file that is read in place.
   * @throws AnnexfsError NOT_FOUND, CORRUPT (another size, or changed while it was sent), and as {@link present}.
   */
  async *read(
    key: Key,
    size: Bytes,
    range: ByteRange,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const wish = { key: key.raw, start: range.start, size }
    const { entry, result } = await this.#ask(
      wish,
      signal,
      (connection) => this.#begin(connection, key, wish, range.end),
      range.end,
    )
    const { connection } = entry
    let { bytes } = result
    let taken = 0
    const { sending } = result
    try {
      for (;;) {
        if (sending.at === sending.end) await unlessAborted(this.#finish(connection), signal, () => undefined)
        // Waiting for the consumer is no fault of the line.
        if (bytes.length > 0) yield bytes
        if (sending.at >= range.end) return
        const since = performance.now()
        taken += bytes.length
        bytes = await connection.take(sending, Math.min(CHUNK, range.end - sending.at), signal)
        if (taken > READY) this.#measureRate(bytes.length, performance.now() - since)
      }
    } catch (error) {
      if (isAnnexfsError(error, 'TIMED_OUT') && !signal.aborted) await this.#options.silent()
      throw error
    } finally {
      const stalled = signal.aborted && performance.now() - connection.heard > STALLED
      this.#giveBack(entry, stalled)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    const closing = [...this.#entries].map((entry) => this.#drop(entry))
    this.#changes.tell()
    await Promise.all(closing)
  }

  /** Makes `connection` stand where `wish` starts, and takes the first bytes. */
  async #begin(connection: P2pConnection, key: Key, wish: Wish, end: Bytes): Promise<Begun> {
    const sending = connection.sending ?? (await connection.get(key, wish.start))
    while (sending.at < wish.start) await connection.take(sending, wish.start - sending.at)
    if (sending.end !== wish.size) {
      if (sending.at === sending.end && !(await connection.finish())) {
        throw new AnnexfsError('NOT_FOUND', `${connection.host} does not have ${displayKey(key)} any more`)
      }
      const found = `content of ${sending.end} bytes where ${wish.size} are expected`
      throw new AnnexfsError('CORRUPT', `${connection.host} has ${found} for ${displayKey(key)}`)
    }
    return { sending, bytes: await connection.take(sending, Math.min(CHUNK, end - sending.at)) }
  }

  async #finish(connection: P2pConnection): Promise<void> {
    if (await connection.finish()) return
    throw new AnnexfsError(
      'CORRUPT',
      `the content was changed at ${connection.host} while it was sent; it is discarded`,
    )
  }

  /**
   * Borrows a connection and asks it something; the caller gives it back. The question goes on when the signal fires,
   * so that the connection stays usable. A connection that died while it idled is replaced.
   */
  async #ask<T>(
    wish: Wish | undefined,
    signal: AbortSignal,
    question: (connection: P2pConnection) => Promise<T>,
    until?: Bytes,
  ): Promise<{ readonly entry: Entry; readonly result: T }> {
    for (;;) {
      const { entry, fresh } = await this.#borrow(wish, signal)
      const { connection } = entry
      if (until !== undefined) entry.until = until
      const asked = (async () => {
        const goesOn = wish !== undefined && leadsTo(connection.sending, wish)
        if (!goesOn) await connection.drain()
        return question(connection)
      })()
      const unwanted = (result?: T): void => {
        if (isBegun(result)) connection.giveBack(result.sending, result.bytes)
        this.#giveBack(entry)
      }
      try {
        return { entry, result: await unlessAborted(asked, signal, unwanted, unwanted) }
      } catch (error) {
        if (signal.aborted) throw error
        this.#giveBack(entry)
        if (isAnnexfsError(error, 'TIMED_OUT')) await this.#options.silent()
        if (fresh || connection.usable || !isAnnexfsError(error, 'UNAVAILABLE')) throw error
      }
    }
  }

  async #borrow(wish: Wish | undefined, signal: AbortSignal): Promise<{ entry: Entry; fresh: boolean }> {
    const since = performance.now()
    for (;;) {
      throwIfAborted(signal)
      if (this.#closed) throw new AnnexfsError('UNAVAILABLE', 'the remote was closed')
      const entries = [...this.#entries]
      const candidates = entries.map(({ connection, busy, until, used }) => ({
        busy,
        used,
        ...(connection.sending === undefined ? {} : { sending: connection.sending }),
        ...(until === undefined ? {} : { until }),
      }))
      const left = since + LONGEST_FOLLOW - performance.now()
      const choice = chooseConnection(candidates, wish, this.#costs, MOST_CONNECTIONS - this.#opening, left > 0)
      const chosen = 'index' in choice ? entries[choice.index] : undefined
      if (choice.how === 'use' && chosen !== undefined) {
        clearTimeout(chosen.timer)
        chosen.busy = true
        // Until it says otherwise: nobody can tell where it will stand.
        delete chosen.until
        return { entry: chosen, fresh: false }
      }
      // The first connection is the one that others can share; several at once would each make their own.
      if (choice.how === 'wait' || (choice.how === 'open' && !this.#connected && this.#opening > 0)) {
        await this.#changes.next(signal, choice.how === 'wait' && choice.follows ? left : undefined)
        continue
      }
      if (chosen !== undefined) void this.#drop(chosen)
      const opened = this.#open()
      return { entry: await unlessAborted(opened, signal, (entry) => this.#giveBack(entry)), fresh: true }
    }
  }

  async #open(): Promise<Entry> {
    this.#backOff.check()
    const since = performance.now()
    this.#opening++
    try {
      const connection = await this.#options.connect()
      const entry: Entry = { connection, busy: true, used: performance.now() }
      // The first one also made the connection that the others share.
      if (this.#connected) this.#costs.reopening += (performance.now() - since - this.#costs.reopening) / 4
      this.#connected = true
      this.#backOff.succeeded()
      this.#entries.add(entry)
      if (this.#closed) {
        await this.#drop(entry)
        throw new AnnexfsError('UNAVAILABLE', 'the remote was closed')
      }
      return entry
    } catch (error) {
      this.#backOff.failed(error)
      if (isAnnexfsError(error, 'TIMED_OUT')) await this.#options.silent()
      throw error
    } finally {
      this.#opening--
      this.#changes.tell()
    }
  }

  #giveBack(entry: Entry, distrusted = false): void {
    const { connection } = entry
    entry.busy = false
    entry.used = performance.now()
    delete entry.until
    if (distrusted || !connection.usable || this.#closed) void this.#drop(entry)
    else {
      const time = connection.sending === undefined ? IDLE : IDLE_SENDING
      entry.timer = setTimeout(() => void this.#drop(entry), time).unref()
    }
    this.#changes.tell()
  }

  async #drop(entry: Entry): Promise<void> {
    clearTimeout(entry.timer)
    if (this.#entries.delete(entry)) this.#receivedBefore += entry.connection.received
    await entry.connection.close()
  }

  #measureRate(bytes: Bytes, time: Milliseconds): void {
    this.#measured.bytes += bytes
    this.#measured.time += time
    if (this.#measured.bytes < LEAST_MEASURED) return
    const rate = this.#measured.bytes / Math.max(1, this.#measured.time)
    this.#costs.rate += (rate - this.#costs.rate) / 4
    this.#measured = { bytes: 0, time: 0 }
  }
}

interface Begun {
  readonly sending: NonNullable<P2pConnection['sending']>
  readonly bytes: Buffer
}

function isBegun(result: unknown): result is Begun {
  return typeof result === 'object' && result !== null && 'bytes' in result && 'sending' in result
}
