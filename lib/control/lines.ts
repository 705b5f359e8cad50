import type { Bytes } from '../space/space.js'

const NEWLINE = 10

/** Cuts what comes over a socket into lines; keeps no more of an unfinished one than it may be long. */
export class Lines {
  readonly #longest: Bytes
  #parts: Buffer[] = []
  #held: Bytes = 0

  constructor(longest: Bytes) {
    this.#longest = longest
  }

  /**
   * The lines that `chunk` completes, without their ends.
   * @returns undefined when a line is too long: nothing after it can be understood.
   */
  add(chunk: Buffer): readonly string[] | undefined {
    const lines: string[] = []
    let from = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      if (this.#held + end - from > this.#longest) return undefined
      lines.push(Buffer.concat([...this.#parts, chunk.subarray(from, end)]).toString('utf8'))
      this.#parts = []
      this.#held = 0
      from = end + 1
    }
    if (from < chunk.length) {
      this.#parts.push(Buffer.from(chunk.subarray(from)))
      this.#held += chunk.length - from
    }
    return this.#held > this.#longest ? undefined : lines
  }
}
