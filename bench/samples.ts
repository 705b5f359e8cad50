import { figureOf, type Figure, type Row } from './figure.js'

/** Collects samples of the rows of one section while contestants take turns. */
export class Samples {
  readonly #rows = new Map<string, Map<string, number[]>>()

  add(row: string, contestant: string, ...values: number[]): void {
    const rows = this.#rows.get(row) ?? new Map<string, number[]>()
    this.#rows.set(row, rows)
    rows.set(contestant, [...(rows.get(contestant) ?? []), ...values])
  }

  /** The row `name` with all that was collected, or undefined without any. */
  row(about: Omit<Row, 'figures'>): Row | undefined {
    const samples = this.#rows.get(about.name)
    if (samples === undefined) return undefined
    const figures: Record<string, Figure> = {}
    for (const [contestant, values] of samples) figures[contestant] = figureOf(values)
    return { ...about, figures }
  }
}
