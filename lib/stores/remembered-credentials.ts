import type { Credentials, StoreContext } from './context.js'

/**
 * The credentials of a remote. Found ones are kept until they turn out wrong; none found are asked for again: they may
 * come later. A remote that only the repository's log names gets none: its host is somebody else's word, and those of
 * the environment are not for it.
 */
export class RememberedCredentials {
  readonly #ask: () => Promise<Credentials | undefined>
  #asked: Promise<Credentials | undefined> | undefined

  constructor({ remote, credentials }: Pick<StoreContext, 'remote' | 'credentials'>) {
    this.#ask = remote.configured ? credentials : () => Promise.resolve(undefined)
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
