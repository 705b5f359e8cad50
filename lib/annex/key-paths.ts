import { createHash } from 'node:crypto'
import type { Bytes } from '../space/space.js'

/** Paths of one tree together: a million files have some 100 MB of them. */
const MOST_PATH_BYTES: Bytes = 512 * 1024 * 1024
/** One content under more names than this is asked for under the first ones. */
const MOST_PATHS_OF_A_KEY = 100
const NONE = -1

/**
 * Which paths have which key, compactly: some 20 bytes for each besides the path itself, in a few large buffers. A hash
 * table with chains: `heads` holds the latest path of each bucket, `next` the one before it.
 */
export class KeyPaths {
  readonly #room: Bytes
  #paths = Buffer.allocUnsafe(64 * 1024)
  #used = 0
  #count = 0
  /** Of each path: 64 bits of its key's digest, where it starts, and the one before it in its bucket. */
  #high = new Uint32Array(1024)
  #low = new Uint32Array(1024)
  #starts = new Uint32Array(1024)
  #next = new Int32Array(1024)
  #heads = new Int32Array(2048).fill(NONE)

  /** @param room that all paths together may take. */
  constructor(room: Bytes = MOST_PATH_BYTES) {
    this.#room = room
  }

  /** @param raw the key's serialization, @param path raw bytes. False when there is no room for more. */
  add(raw: string, path: Buffer): boolean {
    if (this.#used + path.length > this.#room) return false
    this.#grow(path.length)
    const index = this.#count++
    const [high, low] = digest(raw)
    this.#high[index] = high
    this.#low[index] = low
    this.#starts[index] = this.#used
    path.copy(this.#paths, this.#used)
    this.#used += path.length
    this.#link(index)
    return true
  }

  /** How many paths there are. */
  get count(): number {
    return this.#count
  }

  /** What it takes in memory. */
  get bytes(): Bytes {
    return this.#paths.length + 4 * (4 * this.#starts.length + this.#heads.length)
  }

  /** Paths of the key, in the order in which they were added. */
  of(raw: string): Buffer[] {
    const [high, low] = digest(raw)
    const paths: Buffer[] = []
    for (let at = this.#heads[this.#bucket(low)] ?? NONE; at !== NONE; at = this.#next[at] ?? NONE) {
      if (this.#high[at] !== high || this.#low[at] !== low) continue
      const end = at + 1 < this.#count ? this.#starts[at + 1] : this.#used
      paths.push(Buffer.from(this.#paths.subarray(this.#starts[at], end)))
    }
    return paths.reverse().slice(0, MOST_PATHS_OF_A_KEY)
  }

  #bucket(low: number): number {
    return (low & (this.#heads.length - 1)) >>> 0
  }

  #link(index: number): void {
    const bucket = this.#bucket(this.#low[index] ?? 0)
    this.#next[index] = this.#heads[bucket] ?? NONE
    this.#heads[bucket] = index
  }

  #grow(more: Bytes): void {
    if (this.#used + more > this.#paths.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#used + more, Math.min(this.#paths.length * 2, this.#room)))
      this.#paths.copy(larger, 0, 0, this.#used)
      this.#paths = larger
    }
    if (this.#count < this.#starts.length) return
    const length = this.#starts.length * 2
    const larger = <T extends Uint32Array | Int32Array>(array: T, to: T): T => {
      to.set(array)
      return to
    }
    this.#high = larger(this.#high, new Uint32Array(length))
    this.#low = larger(this.#low, new Uint32Array(length))
    this.#starts = larger(this.#starts, new Uint32Array(length))
    this.#next = new Int32Array(length)
    this.#heads = new Int32Array(2 * length).fill(NONE)
    for (let index = 0; index < this.#count; index++) this.#link(index)
  }
}

/** The first 64 bits of the key's SHA-256: nobody can make many keys agree in them. */
function digest(raw: string): [number, number] {
  const hash = createHash('sha256').update(raw, 'latin1').digest()
  return [hash.readUInt32BE(0), hash.readUInt32BE(4)]
}
