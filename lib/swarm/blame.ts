/** Pieces that an address alone gave and that were wrong, before it is banned. */
const STRIKES_TO_BAN = 3
/** Wrong pieces that it had a part in, after which it never shares a piece with another peer again. */
const SHARED_FAILURES_TO_ISOLATE = 3
/** Addresses that are remembered; the oldest are forgotten, banned ones last. */
const MOST_ADDRESSES = 10_000

interface Record {
  good: boolean
  strikes: number
  sharedFailures: number
}

/**
 * Who gave wrong bytes. A piece whose hash fails says who lied only if one peer gave all of it. So a peer that is not
 * trusted gets pieces of its own, one at a time: a newcomer until it gave a good one, and everybody who had a part in
 * a wrong piece until it has shown a good one again. An honest peer is never struck: only a sole giver is.
 */
export class Blame {
  readonly #records = new Map<string, Record>()
  readonly #banned = new Set<string>()

  constructor(banned: readonly string[] = []) {
    for (const address of banned) this.#banned.add(address)
  }

  banned(address: string): boolean {
    return this.#banned.has(address)
  }

  /** May this address share pieces with others and work on many at once? */
  trusted(address: string): boolean {
    const record = this.#records.get(address)
    return record !== undefined && record.good && record.sharedFailures < SHARED_FAILURES_TO_ISOLATE
  }

  right(givers: ReadonlySet<string>): void {
    for (const address of givers) {
      const record = this.#record(address)
      if (givers.size === 1) record.good = true
    }
  }

  /** The hash of a piece that came from `givers` was wrong. Returns the address to ban now, if there is one. */
  wrong(givers: ReadonlySet<string>): string | undefined {
    for (const address of givers) {
      const record = this.#record(address)
      record.good = false
      if (givers.size > 1) {
        record.sharedFailures += 1
        continue
      }
      record.strikes += 1
      if (record.strikes >= STRIKES_TO_BAN) {
        this.ban(address)
        return address
      }
    }
    return undefined
  }

  ban(address: string): void {
    if (this.#banned.size >= MOST_ADDRESSES) {
      const [oldest] = this.#banned
      if (oldest !== undefined) this.#banned.delete(oldest)
    }
    this.#banned.add(address)
  }

  #record(address: string): Record {
    let record = this.#records.get(address)
    if (record === undefined) {
      if (this.#records.size >= MOST_ADDRESSES) {
        const [oldest] = this.#records.keys()
        if (oldest !== undefined) this.#records.delete(oldest)
      }
      record = { good: false, strikes: 0, sharedFailures: 0 }
      this.#records.set(address, record)
    }
    return record
  }
}
