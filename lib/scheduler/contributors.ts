import type { Assembly } from './assembly.js'
import type { Supplier } from './candidates.js'
import type { Trusted } from './trust.js'

/** Who brought the unchecked pieces of a content since it was last checked. */
export class Contributors {
  readonly #sources = new Map<string, Trusted>()
  readonly #brought = new Set<number>()

  get names(): readonly string[] {
    return [...this.#sources.keys()]
  }

  get all(): readonly Trusted[] {
    return [...this.#sources.values()]
  }

  /** How many different pieces they brought. */
  get pieces(): number {
    return this.#brought.size
  }

  /** @param assembly when the piece was brought in parts. */
  brought(index: number, supplier: Supplier, assembly: Assembly | undefined): void {
    this.#brought.add(index)
    this.#add(supplier)
    for (const part of assembly?.parts ?? []) this.#add(part.supplier)
  }

  clear(): void {
    this.#sources.clear()
    this.#brought.clear()
  }

  #add({ source: { name }, holding: { version } }: Supplier): void {
    // The version as it is now: another object may be there when the content is checked.
    if (!this.#sources.has(name)) this.#sources.set(name, { source: { name }, holding: { version } })
  }
}
