import type { Attempt } from '../errors.js'
import type { KeySources } from '../sources/annex.js'

/** A location log may name a million places. */
const MOST_SAID = 5

/** Why places that are recorded to have a key are of no use. */
export function unusable({ unsupported, elsewhere }: Pick<KeySources, 'unsupported' | 'elsewhere'>): Attempt[] {
  const said = elsewhere.slice(0, MOST_SAID)
  const more = elsewhere.length - said.length
  if (more > 0) said.push({ source: `${more} more`, reason: 'are said to have it, but cannot be read from either' })
  return [...unsupported, ...said]
}
