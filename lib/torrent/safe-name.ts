import { createHash } from 'node:crypto'
import { isUtf8 } from 'node:buffer'

/** What Linux takes as one name, in bytes of UTF-8. */
export const LONGEST_NAME = 255

/**
 * A name from a stranger as one safe path component: invalid UTF-8, NUL and `/` are shown as `\xHH`; of `.`, `..` and
 * `.git` (which programs run commands from) the first dot is; a name over 255 bytes is cut before its extension and told apart by a piece of its hash. Empty stays empty. Control
 * characters stay: they are legal in names, and who prints them must escape them.
 */
export function safeName(raw: Uint8Array): string {
  const text = escapeSpecial(decodeName(raw))
  if (Buffer.byteLength(text) <= LONGEST_NAME) return text
  return withSuffix(text, `~${createHash('sha256').update(raw).digest('hex').slice(0, 8)}`)
}

/** {@link safeName} of `bytes[start, end)`, fast for the plain names that most are. */
export function safeNameAt(bytes: Buffer, start: number, end: number): string {
  // A leading dot takes the longer way, and so does anything that is not printable ASCII.
  if (end - start > LONGEST_NAME || bytes[start] === 0x2e) return safeName(bytes.subarray(start, end))
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] ?? 0
    if (byte < 0x20 || byte > 0x7e || byte === 0x2f) return safeName(bytes.subarray(start, end))
  }
  return bytes.toString('latin1', start, end)
}

/** `name` with `suffix` before its extension (at the end of a folder's name), cut so that it stays within 255 bytes. */
export function withSuffix(name: string, suffix: string, kind: 'file' | 'folder' = 'file'): string {
  const { base, extension } = kind === 'file' ? splitExtension(name) : { base: name, extension: '' }
  return `${cut(base, LONGEST_NAME - Buffer.byteLength(suffix) - Buffer.byteLength(extension))}${suffix}${extension}`
}

/** Extensions longer than this are part of the name. */
const LONGEST_EXTENSION = 16

function splitExtension(name: string): { base: string; extension: string } {
  const dot = name.lastIndexOf('.')
  const extension = dot > 0 ? name.slice(dot) : ''
  if (extension.length < 2 || Buffer.byteLength(extension) > LONGEST_EXTENSION) return { base: name, extension: '' }
  return { base: name.slice(0, dot), extension }
}

/** The longest beginning of `text` within `bytes` bytes of UTF-8, never in the middle of a character. */
function cut(text: string, bytes: number): string {
  // Three bytes are the most that one UTF-16 unit takes.
  if (text.length * 3 <= bytes) return text
  const encoded = Buffer.from(text)
  if (encoded.length <= bytes) return text
  let end = bytes
  while (end > 0 && ((encoded[end] ?? 0) & 0xc0) === 0x80) end -= 1
  return encoded.toString('utf8', 0, end)
}

function escapeSpecial(text: string): string {
  if (text === '.' || text === '..' || /^\.git$/i.test(text)) return `\\x2e${text.slice(1)}`
  if (!text.includes('/') && !text.includes('\0')) return text
  return text.replaceAll('/', '\\x2f').replaceAll('\0', '\\x00')
}

function decodeName(raw: Uint8Array): string {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength)
  if (isUtf8(bytes)) return bytes.toString('utf8')
  let text = ''
  let at = 0
  while (at < bytes.length && text.length <= 4 * LONGEST_NAME) {
    const length = characterLength(bytes, at)
    text += length === 0 ? `\\x${bytes.toString('hex', at, at + 1)}` : bytes.toString('utf8', at, at + length)
    at += Math.max(1, length)
  }
  return text
}

/** The length of the valid UTF-8 character at `at`, or 0. */
function characterLength(bytes: Buffer, at: number): number {
  for (let length = 1; length <= 4 && at + length <= bytes.length; length += 1) {
    if (isUtf8(bytes.subarray(at, at + length))) return length
  }
  return 0
}
