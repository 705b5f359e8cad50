import { AnnexfsError, isAnnexfsError, throwIfAborted } from '../errors.js'
import { printable } from '../log/log.js'
import { checkInside } from '../sources/range.js'
import type { Demand } from '../sources/source.js'
import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'
import { BackOff } from './back-off.js'
import { unlessAborted, type SshChannel } from './ssh-channel.js'
import type { HostFile, HostFiles } from './ssh-files.js'
import type { SshHost } from './ssh-host.js'

/** What `dd` reads at once; ranges are widened to whole ones. */
const BLOCK: Bytes = 4096
/** Ranges come to an end before the next can begin, so that they are kept short. */
const LONGEST: Bytes = 4 * 1024 * 1024
const CHUNK: Bytes = 256 * 1024
const LONGEST_LINE: Bytes = 1024
/** Lines that a login script may print before the shell listens. */
const MOST_NOISE = 100
/** A shell that nobody asks ends after so long, as an sftp session does. */
const IDLE: Milliseconds = 45_000
const READY = 'annexfs: ready'

/**
 * Files by the means that every host has: one long-lived `sh` that gets commands (`wc`, `dd`) on its standard input, one
 * at a time. Paths never are part of a command line, and need not be text.
 */
export class ShellFiles implements HostFiles {
  readonly #host: SshHost
  #shell: SshChannel | undefined
  readonly #backOff = new BackOff()
  #receivedBefore: Bytes = 0
  /** The end of the queue for the shell. */
  #last: Promise<void> = Promise.resolve()
  readonly #closing = new AbortController()
  readonly #idle: Milliseconds
  #timer: NodeJS.Timeout | undefined

  constructor(host: SshHost, idle = IDLE) {
    this.#host = host
    this.#idle = idle
  }

  get received(): Bytes {
    return this.#receivedBefore + (this.#shell?.received ?? 0)
  }

  async open(path: Buffer, signal: AbortSignal): Promise<HostFile | undefined> {
    throwIfAborted(signal)
    const size = await unlessAborted(
      this.#alone((shell) => this.#size(shell, path)),
      signal,
      () => undefined,
    )
    if (size === undefined) return undefined
    return {
      size,
      parallel: 1,
      longest: LONGEST,
      read: (range, demand) => this.#read(path, size, range, demand),
      close: () => undefined,
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#closing.abort(this.#closedError())
    await this.#shell?.close()
  }

  async #size(shell: SshChannel, path: Buffer): Promise<Bytes | undefined> {
    const look = `if test -f "$f"; then printf 'size %s\\n' "$(wc -c <"$f")"; else printf 'none\\n'; fi\n`
    shell.write(Buffer.concat([assigned(path), Buffer.from(look)]))
    const answer = await shell.line(LONGEST_LINE)
    if (answer === 'none') return undefined
    // Nothing after the word: it is there, but must not be read.
    if (/^size\s*$/.test(answer)) throw this.#failed(path, 'it cannot be opened')
    const size = Number(/^size\s+(\d{1,16})\s*$/.exec(answer)?.[1])
    if (!Number.isSafeInteger(size)) throw this.#strange(answer)
    return size
  }

  async *#read(
    path: Buffer,
    size: Bytes,
    range: ByteRange,
    { signal }: Demand,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    checkInside(range, size, this.#host.name)
    throwIfAborted(signal)
    if (range.start === range.end) return
    let release: () => void = () => undefined
    const turn = this.#turn().then((free) => void (release = free))
    await unlessAborted(turn, AbortSignal.any([signal, this.#closing.signal]), () => release())
    const state = { left: 0, failed: true }
    let shell: SshChannel | undefined
    try {
      const live = (shell = await unlessAborted(this.#live(), signal, () => undefined))
      const skip = Math.floor(range.start / BLOCK)
      const count = Math.ceil(range.end / BLOCK) - skip
      // The size is looked at first: of a file that has become shorter, the answer's end would come within the data.
      const script =
        `s=$(($(wc -c <"$f")+0)); printf 'data %s\\n' "$s"; if test "$s" -eq ${size}; then ` +
        `dd if="$f" bs=${BLOCK} skip=${skip} count=${count} 2>/dev/null; printf '\\nend %s\\n' "$?"; fi\n`
      live.write(Buffer.concat([assigned(path), Buffer.from(script)]))
      const head = await unlessAborted(live.line(LONGEST_LINE), signal, () => undefined)
      if (head !== `data ${size}`) {
        state.failed = !/^data \d*$/.test(head)
        throw state.failed ? this.#strange(head) : this.#changed(path)
      }
      let at = skip * BLOCK
      state.left = Math.min(size, (skip + count) * BLOCK) - at
      state.failed = false
      for (;;) {
        const bytes = await live.some(Math.min(CHUNK, state.left), signal)
        state.left -= bytes.length
        const wanted = bytes.subarray(Math.max(0, range.start - at), Math.max(0, range.end - at))
        at += bytes.length
        if (state.left === 0) {
          state.failed = true
          await unlessAborted(this.#ended(live, path), signal, () => undefined)
          state.failed = false
          yield wanted
          return
        }
        // The last bytes wait for the end, which tells whether all were right.
        if (wanted.length > 0) yield wanted
      }
    } finally {
      this.#settle(shell, state, path).then(release, release)
    }
  }

  /** Leaves the shell where the next command can be given, or ends it. */
  async #settle(shell: SshChannel | undefined, state: { left: Bytes; failed: boolean }, path: Buffer): Promise<void> {
    if (shell === undefined) return
    try {
      if (state.failed) throw this.#strange('')
      if (state.left === 0) return
      while (state.left > 0) state.left -= (await shell.some(Math.min(CHUNK, state.left))).length
      await this.#ended(shell, path)
    } catch {
      // Nobody waits for these bytes any more; the next command gets another shell.
      await this.#end(shell)
    }
  }

  async #ended(shell: SshChannel, path: Buffer): Promise<void> {
    const [blank, end] = [await shell.line(LONGEST_LINE), await shell.line(LONGEST_LINE)]
    if (blank !== '' || end !== 'end 0') throw this.#changed(path)
  }

  /** Runs `work` when all before it are done. */
  async #alone<T>(work: (shell: SshChannel) => Promise<T>): Promise<T> {
    const release = await this.#turn()
    let shell: SshChannel | undefined
    try {
      shell = await this.#live()
      return await work(shell)
    } catch (error) {
      if (shell !== undefined) await this.#end(shell)
      throw error
    } finally {
      release()
    }
  }

  async #turn(): Promise<() => void> {
    const before = this.#last
    let release: () => void = () => undefined
    this.#last = new Promise((resolve) => (release = resolve))
    await before
    clearTimeout(this.#timer)
    return () => {
      this.#timer = setTimeout(() => this.#rest(), this.#idle).unref()
      release()
    }
  }

  /** Nobody has asked it anything for some time. */
  #rest(): void {
    if (this.#shell !== undefined) void this.#end(this.#shell)
  }

  async #live(): Promise<SshChannel> {
    if (this.#closing.signal.aborted) throw this.#closedError()
    if (this.#shell !== undefined && !this.#shell.over) return this.#shell
    this.#receivedBefore += this.#shell?.received ?? 0
    this.#shell = undefined
    this.#backOff.check()
    const shell = await this.#host.run({ command: 'sh' }, 'a shell')
    this.#shell = shell
    try {
      shell.write(`LC_ALL=C; export LC_ALL; printf '%s\\n' '${READY}'\n`)
      for (let line = 0; line < MOST_NOISE; line++) {
        if ((await shell.line(LONGEST_LINE)) === READY) {
          this.#backOff.succeeded()
          return shell
        }
      }
      throw this.#strange('')
    } catch (error) {
      this.#backOff.failed(error)
      if (isAnnexfsError(error, 'TIMED_OUT')) await this.#host.reconnect()
      await this.#end(shell)
      throw error
    }
  }

  async #end(shell: SshChannel): Promise<void> {
    if (this.#shell === shell) {
      this.#receivedBefore += shell.received
      this.#shell = undefined
    }
    await shell.close()
  }

  #closedError(): AnnexfsError {
    return new AnnexfsError('UNAVAILABLE', `the connection to ${this.#host.name} was closed`)
  }

  #failed(path: Buffer, why: string): AnnexfsError {
    return new AnnexfsError('UNAVAILABLE', `${this.#host.name} gives no bytes of ${shown(path)}: ${why}`)
  }

  #changed(path: Buffer): AnnexfsError {
    return new AnnexfsError('CORRUPT', `${shown(path)} at ${this.#host.name} has changed while it was read`)
  }

  #strange(answer: string): AnnexfsError {
    const text = answer === '' ? 'something else than was asked for' : printable(answer.slice(0, 200))
    return new AnnexfsError('INVALID', `the shell at ${this.#host.name} printed ${text}`)
  }
}

/** Makes `$f` the path: a quoted word, and never one that starts with a dash. */
function assigned(path: Buffer): Buffer {
  const quoted = path.toString('latin1').replaceAll("'", `'\\''`)
  return Buffer.from(`f='${path[0] === 45 ? './' : ''}${quoted}'\n`, 'latin1')
}

function shown(path: Buffer): string {
  return printable(path.toString('utf8').slice(-200))
}
