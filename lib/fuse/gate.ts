import type { Milliseconds } from '../space/space.js'

/** Lets others pass once it is opened, or after a time. */
export class Gate {
  readonly passed: Promise<void>
  #open: () => void = () => undefined
  readonly #timer: NodeJS.Timeout

  constructor(longest: Milliseconds) {
    this.passed = new Promise((resolve) => {
      this.#open = resolve
    })
    this.#timer = setTimeout(this.#open, longest)
  }

  open(): void {
    clearTimeout(this.#timer)
    this.#open()
  }
}
