/**
 * Which sources of one content were shown to give wrong bytes. Outlives the fetchers of the content, so that opening it
 * again some minutes later does not begin with the liar again.
 */
export class Trust {
  readonly #liars = new Set<string>()
  #oneAtATime = false

  /**
   * After several sources together gave wrong bytes nobody knows which one lied: all pieces come from one source at a
   * time then, until that one is shown to be right or wrong.
   */
  get oneAtATime(): boolean {
    return this.#oneAtATime
  }

  has(source: string): boolean {
    return !this.#liars.has(source)
  }

  /** What came from `sources`, and (`others`) from places nobody knows any more, together was wrong. */
  blame(sources: ReadonlySet<string>, others: boolean): void {
    const [only] = sources
    if (only !== undefined && sources.size === 1 && !others) this.#liars.add(only)
    else this.#oneAtATime = true
  }
}
