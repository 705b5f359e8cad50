/** Ways in which the page is kept compressed, the better one first. */
const CODINGS = ['br', 'gzip'] as const

export type Coding = (typeof CODINGS)[number]

/** The coding that an Accept-Encoding header (RFC 9110, section 12.5.3) likes best of ours; undefined for none. */
export function preferredCoding(accepted: string | undefined): Coding | undefined {
  const weights = new Map<string, number>()
  for (const one of (accepted ?? '').split(',')) {
    const [name = '', ...parameters] = one.split(';').map((part) => part.trim().toLowerCase())
    const weight = parameters.find((parameter) => parameter.startsWith('q='))
    weights.set(name, weight === undefined ? 1 : Number(weight.slice(2)))
  }
  let best: Coding | undefined
  let most = 0
  for (const coding of CODINGS) {
    const weight = weights.get(coding) ?? weights.get('*') ?? 0
    if (weight > most) [best, most] = [coding, weight]
  }
  return best
}
