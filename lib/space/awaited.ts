/**
 * Is told what a request waits for while that is something else than its own bytes: a server that asked for patience, an
 * object that only comes whole. `what` is asked whenever somebody wants to know.
 * @returns to be called when that is over.
 */
export type TellAwaited = (what: () => string | undefined) => () => void

/** What a request is made with, as far as what carries it out cares. */
export interface Asking {
  readonly signal: AbortSignal
  readonly awaits?: TellAwaited
}

/** What one request waits for, as those told who carry it out. */
export class Awaited {
  readonly #told = new Set<() => string | undefined>()

  readonly tell: TellAwaited = (what) => {
    // The same may be told twice, and be over once.
    const one = (): string | undefined => what()
    this.#told.add(one)
    return () => void this.#told.delete(one)
  }

  /** What was told last: a request that was made for another one tells later, and nearer to the matter. */
  get now(): string | undefined {
    let last: string | undefined
    for (const what of this.#told) last = what() ?? last
    return last
  }
}
