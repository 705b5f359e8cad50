import { isUtf8 } from 'node:buffer'

/** What a byte that is not part of UTF-8 stands as in git-annex's text: U+DC80 to U+DCFF (GHC's `//ROUNDTRIP`). */
const ESCAPED = 0xdc00
const REPLACEMENT = 0xfffd

/** Bytes as the characters that git-annex takes them for: UTF-8, every other byte a lone surrogate. */
export function codePoints(bytes: Buffer): number[] {
  const points: number[] = []
  for (let at = 0; at < bytes.length;) {
    const byte = bytes[at] ?? 0
    const length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4
    const character = bytes.subarray(at, at + length)
    const valid = character.length === length && isUtf8(character)
    points.push(valid ? (character.toString('utf8').codePointAt(0) ?? 0) : ESCAPED + byte)
    at += valid ? length : 1
  }
  return points
}

/** UTF-8 in which U+FFFD stands for what is not text, as in names that went through Haskell's `Text`. */
export function replacedUtf8(points: readonly number[]): Buffer {
  return Buffer.from(points.map((point) => String.fromCodePoint(isEscaped(point) ? REPLACEMENT : point)).join(''))
}

/** UTF-8 in which lone surrogates stand as three bytes, as Haskell's `escapeURIString` writes them. */
export function surrogateUtf8(points: readonly number[]): Buffer {
  return Buffer.concat(
    points.map((point) =>
      isEscaped(point)
        ? Buffer.from([0xed, 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f)])
        : Buffer.from(String.fromCodePoint(point)),
    ),
  )
}

function isEscaped(point: number): boolean {
  return point >= ESCAPED + 0x80 && point <= ESCAPED + 0xff
}
