import type { Bytes, Milliseconds } from '../space/space.js'

/**
 * The sizes that getattr told lately, and so the kernel may still hold. An open whose content has another size waits
 * until they have expired: the kernel cuts a read at the size it believes in.
 */
export class ToldSizes {
  #young = new Map<string, Told>()
  #old = new Map<string, Told>()
  #turned: Milliseconds = 0
  readonly #lifetime: Milliseconds

  /** `lifetime`: how long the kernel may hold what it was told. */
  constructor(lifetime: Milliseconds) {
    this.#lifetime = lifetime
  }

  tell(path: string, size: Bytes, now: Milliseconds): void {
    this.#turn(now)
    this.#young.set(path, { size, at: now })
  }

  /** How long the kernel may go on believing in another size than `size`. */
  remaining(path: string, size: Bytes, now: Milliseconds): Milliseconds {
    const told = this.#young.get(path) ?? this.#old.get(path)
    if (told === undefined || told.size === size) return 0
    return Math.max(0, told.at + this.#lifetime - now)
  }

  /** Two generations, each at least a lifetime long: what was told before both has expired. */
  #turn(now: Milliseconds): void {
    if (now - this.#turned < this.#lifetime && this.#young.size < MOST) return
    this.#old = this.#young
    this.#young = new Map()
    this.#turned = now
  }
}

interface Told {
  readonly size: Bytes
  readonly at: Milliseconds
}

/** More than the native layer can tell in a lifetime. */
const MOST = 20_000
