/** Many may pass together, or one alone; first come, first served. */
export class Gate {
  #inside = 0
  #alone = false
  readonly #waiting: { readonly alone: boolean; readonly enter: () => void }[] = []

  /** Runs `work` together with other shared work, never during exclusive work. */
  async shared<T>(work: () => Promise<T>): Promise<T> {
    return this.#pass(false, work)
  }

  /** Runs `work` while nothing else is inside. */
  async exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.#pass(true, work)
  }

  async #pass<T>(alone: boolean, work: () => Promise<T>): Promise<T> {
    if (this.#waiting.length > 0 || !this.#fits(alone)) {
      await new Promise<void>((enter) => {
        this.#waiting.push({ alone, enter })
      })
    } else {
      this.#enter(alone)
    }
    try {
      return await work()
    } finally {
      this.#inside--
      this.#alone = false
      this.#admit()
    }
  }

  #fits(alone: boolean): boolean {
    return alone ? this.#inside === 0 : !this.#alone
  }

  #enter(alone: boolean): void {
    this.#inside++
    this.#alone = alone
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.alone); next = this.#waiting[0]) {
      this.#waiting.shift()
      this.#enter(next.alone)
      next.enter()
    }
  }
}
