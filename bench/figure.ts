/** What was measured of one thing: several samples of it, in the unit of the row. */
export interface Figure {
  readonly median: number
  readonly least: number
  readonly most: number
  readonly samples: number
}

export function figureOf(samples: readonly number[]): Figure {
  const sorted = samples.slice().sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? NaN
  const median = sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2
  return { median, least: sorted[0] ?? NaN, most: sorted.at(-1) ?? NaN, samples: sorted.length }
}

/** One row of the report. */
export interface Row {
  readonly section: string
  readonly name: string
  readonly unit: string
  readonly better: 'less' | 'more'
  /** By contestant; annexfs is ours. */
  readonly figures: Readonly<Record<string, Figure>>
  /** How many times better than the others annexfs is to be. */
  readonly target: number
}

/** Named so in every row. */
export const OURS = 'annexfs'

/** How many times better ours is than `name`; undefined where either was not measured. */
export function ratioTo(row: Row, name: string): number | undefined {
  const ours = row.figures[OURS]?.median
  const theirs = row.figures[name]?.median
  if (ours === undefined || theirs === undefined) return undefined
  return row.better === 'less' ? theirs / ours : ours / theirs
}
