import type { Bytes, Milliseconds } from '../space/space.js'
import type { Entry } from '../tree/tree.js'

/** Attributes that go with a listing are told for 0.25 s (names.c), and the kernel may hold them for as long as any. */
const ANSWERED_FOR: Milliseconds = 250

/**
 * The listings that were given lately, with the attributes of their entries: the kernel may still hold the sizes in them. The
 * entries themselves belong to the tree, which keeps them anyway.
 */
export class Listings {
  #recent: { readonly folder: string; readonly entries: readonly Entry<unknown>[]; readonly until: Milliseconds }[] = []
  readonly #lifetime: Milliseconds

  /** `lifetime`: how long the kernel may hold what it was told. */
  constructor(lifetime: Milliseconds) {
    this.#lifetime = lifetime + ANSWERED_FOR
  }

  given(folder: string, entries: readonly Entry<unknown>[], now: Milliseconds): void {
    this.#recent = this.#recent.filter((one) => one.until > now)
    this.#recent.push({ folder, entries: entries.slice(), until: now + this.#lifetime })
  }

  /** How long the kernel may go on believing that the size of `path` is another than `size`. */
  remaining(path: string, size: Bytes, now: Milliseconds): Milliseconds {
    const slash = path.lastIndexOf('/')
    const folder = path.slice(0, slash) || '/'
    const name = path.slice(slash + 1)
    let remaining = 0
    for (const listing of this.#recent) {
      if (listing.folder !== folder || listing.until <= now) continue
      const node = listing.entries.find((entry) => entry.name === name)?.node
      if (node?.kind === 'file' && node.size !== size) remaining = Math.max(remaining, listing.until - now)
    }
    return remaining
  }
}
