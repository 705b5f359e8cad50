import { StringDecoder } from 'node:string_decoder'
import { oneLine } from '../log/one-line.js'
import type { Bytes } from '../space/space.js'

/** What is kept, so that a secret that comes in parts is seen as one. */
const KEPT: Bytes = 16 * 1024
const SHOWN: Bytes = 2_000
const LONGEST_SUMMARY: Bytes = 500

/**
 * What a program says on its standard error. Secrets are taken out of the joined text before any of it is cut off or
 * shown: half a secret would not be recognized.
 */
export class Complaint {
  readonly #redact: (text: string) => string
  readonly #decoder = new StringDecoder('utf8')
  #text = ''
  /** Came since {@link fresh} was last asked for, and is a part of the text's end. */
  #unshown = ''

  constructor(redact: (text: string) => string) {
    this.#redact = redact
  }

  add(chunk: Buffer): void {
    const more = this.#decoder.write(chunk)
    this.#text = this.#redact(this.#text + more).slice(-KEPT)
    this.#unshown = this.#redact(this.#unshown + more).slice(-KEPT)
  }

  /** What was not shown yet, as far as its lines are complete; all of it at the end. */
  fresh(over: boolean): string {
    const until = over ? this.#unshown.length : this.#unshown.lastIndexOf('\n') + 1
    const text = this.#unshown.slice(0, until).trim()
    this.#unshown = this.#unshown.slice(until)
    return text.slice(0, SHOWN)
  }

  /** Its end, in one line. */
  get summary(): string {
    return oneLine(this.#text).slice(-LONGEST_SUMMARY)
  }
}
