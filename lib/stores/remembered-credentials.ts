import type { Credentials } from './context.js'

/** Credentials that were found are kept until they turn out wrong; none found are asked for again: they may come later. */
export class RememberedCredentials {
  readonly #ask: () => Promise<Credentials | undefined>
  #asked: Promise<Credentials | undefined> | undefined

  constructor(ask: () => Promise<Credentials | undefined>) {
    this.#ask = ask
  }

  async get(): Promise<Credentials | undefined> {
    const asked = (this.#asked ??= this.#ask())
    let found: Credentials | undefined
    try {
      return (found = await asked)
    } finally {
      if (found === undefined && this.#asked === asked) this.forget()
    }
  }

  forget(): void {
    this.#asked = undefined
  }
}
