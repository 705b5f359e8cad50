import { isUtf8 } from 'node:buffer'
import { printable } from '../log/log.js'

/**
 * The name of one content (git-annex: "key format", https://git-annex.branchable.com/internals/key_format/).
 * All strings here hold one character per byte (latin1), because keys need not be UTF-8.
 */
export interface Key {
  /** The serialization, e.g. `SHA256E-s12--a948….txt`. */
  readonly raw: string
  readonly backend: string
  /** Exact size of the content in bytes; undefined when the key does not say (URL keys often do not). */
  readonly size: number | undefined
  /** Seconds since the epoch; WORM keys only. */
  readonly mtime: number | undefined
  /** Of a chunk of a key: the chunk size in bytes and the number of the chunk, from 1. */
  readonly chunkSize: number | undefined
  readonly chunkNumber: number | undefined
  readonly name: string
}

/** How to check content against its key. */
export interface KeyHash {
  /** A name that `createHash` of node:crypto knows. */
  readonly algorithm: string
  /** Lower-case hexadecimal. */
  readonly digest: string
}

const SYNTAX = /^([^-]+)(?:-s(\d+))?(?:-m(\d+))?(?:-S(\d+))?(?:-C(\d+))?--(.*)$/s

/** Longest extension, from the first dot on, of a key whose backend ends in `E`. */
const LONGEST_EXTENSION = 64

/** Longest key that we take; git-annex's own never come near it, pointer files end at 32 KiB. */
const LONGEST_KEY = 8192

/** Backend (without `E`) → digest name in node:crypto, or undefined where Node has none. */
const HASHES: ReadonlyMap<string, string | undefined> = new Map([
  ['SHA1', 'sha1'],
  ['SHA224', 'sha224'],
  ['SHA256', 'sha256'],
  ['SHA384', 'sha384'],
  ['SHA512', 'sha512'],
  ['MD5', 'md5'],
  ['SHA3_224', 'sha3-224'],
  ['SHA3_256', 'sha3-256'],
  ['SHA3_384', 'sha3-384'],
  ['SHA3_512', 'sha3-512'],
  ['BLAKE2B512', 'blake2b512'],
  ['BLAKE2S256', 'blake2s256'],
  ...[
    'BLAKE2B160',
    'BLAKE2B224',
    'BLAKE2B256',
    'BLAKE2B384',
    'BLAKE2S160',
    'BLAKE2S224',
    'BLAKE2BP512',
    'BLAKE2SP224',
    'BLAKE2SP256',
    'SKEIN256',
    'SKEIN512',
  ].map((name): [string, undefined] => [name, undefined]),
])

/** The key with the serialization `raw` (one character per byte), or undefined when it is not one. */
export function parseKey(raw: string): Key | undefined {
  if (raw.length > LONGEST_KEY || raw.includes('\n') || raw.includes('\0')) return undefined
  const match = SYNTAX.exec(raw)
  if (match === null) return undefined
  const [, backend = '', size, mtime, chunkSize, chunkNumber, name = ''] = match
  if (backend.endsWith('E')) {
    const dot = name.indexOf('.')
    if (dot >= 0 && name.length - dot > LONGEST_EXTENSION) return undefined
  }
  const numbers = [size, mtime, chunkSize, chunkNumber].map((digits) =>
    digits === undefined ? undefined : Number(digits),
  )
  if (numbers.some((number) => number !== undefined && !Number.isSafeInteger(number))) return undefined
  return {
    raw,
    backend,
    size: numbers[0],
    mtime: numbers[1],
    chunkSize: numbers[2],
    chunkNumber: numbers[3],
    name,
  }
}

const TO_FILE: Readonly<Record<string, string>> = { '&': '&a', '%': '&s', ':': '&c', '/': '%' }
const FROM_FILE: Readonly<Record<string, string>> = { '&a': '&', '&s': '%', '&c': ':', '%': '/' }

/** The file name that git-annex uses for `key` (bytes, one character each). */
export function keyFile(key: Key): string {
  return key.raw.replace(/[&%:/]/g, (character) => TO_FILE[character] ?? character)
}

/** The key that the file name `text` (bytes, one character each) stands for. */
export function parseKeyFile(text: string): Key | undefined {
  return parseKey(/[&%]/.test(text) ? text.replace(/&[asc]|%/g, (escaped) => FROM_FILE[escaped] ?? escaped) : text)
}

/** `backend` without the `E` that stands for "with extension", when it is a hash that git-annex knows. */
function hashName(backend: string): string | undefined {
  if (HASHES.has(backend)) return backend
  const plain = backend.endsWith('E') ? backend.slice(0, -1) : backend
  return HASHES.has(plain) ? plain : undefined
}

/**
 * True when equal keys surely mean equal bytes: the key holds a hash of the content. Not so for URL and VURL keys
 * (every download may differ), WORM keys (name, size and time only) and backends that are not known here.
 */
export function isStable(key: Key): boolean {
  return hashName(key.backend) !== undefined || key.backend === 'GIT'
}

/** The hash that the whole content must have, or undefined when it cannot be checked here. */
export function keyHash(key: Key): KeyHash | undefined {
  const name = hashName(key.backend)
  const algorithm = name === undefined ? undefined : HASHES.get(name)
  if (algorithm === undefined) return undefined
  // Old versions of git-annex left extensions in names of backends without E, and a backslash before some digests.
  const dot = key.name.indexOf('.')
  const digest = dot < 0 ? key.name : key.name.slice(0, dot)
  return { algorithm, digest: digest.replace(/^\\/, '').toLowerCase() }
}

/** The key that `key` is a chunk of: its serialization without chunk fields (bytes, one character each). */
export function wholeKey(key: Key): string {
  if (key.chunkSize === undefined && key.chunkNumber === undefined) return key.raw
  return serializeKey({ ...key, chunkSize: undefined, chunkNumber: undefined })
}

/** The serialization of a key given by its fields. */
export function serializeKey(fields: Omit<Key, 'raw'>): string {
  const field = (letter: string, value: number | undefined): string => (value === undefined ? '' : `-${letter}${value}`)
  const numbers =
    field('s', fields.size) + field('m', fields.mtime) + field('S', fields.chunkSize) + field('C', fields.chunkNumber)
  return `${fields.backend}${numbers}--${fields.name}`
}

/** The key for a log line or a message: UTF-8 where it is that, no control characters, at most 200 characters. */
export function displayKey(key: Key): string {
  const bytes = Buffer.from(key.raw, 'latin1')
  const text = isUtf8(bytes) ? bytes.toString('utf8') : escapeBytes(key.raw)
  return printable(text.length > 200 ? `${text.slice(0, 199)}…` : text)
}

/** Printable ASCII for any byte string; every other byte, `%` and space become `%hh`. Distinct for distinct input. */
export function escapeBytes(latin1: string): string {
  return latin1.replace(/[^!-$&-~]/g, (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, '0')}`)
}
