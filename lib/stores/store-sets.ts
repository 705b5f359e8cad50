import type { AnnexRepository } from '../annex/repository.js'
import { Stores, type StoresOptions } from './stores.js'

/** The open stores of all repositories of a mount; made when first asked for, closed together. */
export class StoreSets {
  readonly #options: StoresOptions
  readonly #sets = new Map<AnnexRepository, Stores>()

  constructor(options: StoresOptions) {
    this.#options = options
  }

  of(annex: AnnexRepository): Stores {
    let stores = this.#sets.get(annex)
    if (stores === undefined) {
      stores = new Stores(annex, this.#options)
      this.#sets.set(annex, stores)
    }
    return stores
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sets.values()].map((stores) => stores.close()))
  }
}
