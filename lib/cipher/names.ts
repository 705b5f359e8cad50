import { isUtf8 } from 'node:buffer'
import { createHmac } from 'node:crypto'
import { parseKey, type Key } from '../annex/key.js'
import { AnnexfsError } from '../errors.js'

/** `mac=` of a remote → digest of node:crypto. */
const DIGESTS: ReadonlyMap<string, string> = new Map([
  ['HMACSHA1', 'sha1'],
  ['HMACSHA224', 'sha224'],
  ['HMACSHA256', 'sha256'],
  ['HMACSHA384', 'sha384'],
  ['HMACSHA512', 'sha512'],
])

export const DEFAULT_MAC = 'HMACSHA1'

/** @throws AnnexfsError UNSUPPORTED for a MAC that git-annex does not have. */
export function checkMac(mac: string): string {
  if (!DIGESTS.has(mac)) {
    throw new AnnexfsError('UNSUPPORTED', `mac=${mac} is not known: ${[...DIGESTS.keys()].join(', ')} are`)
  }
  return mac
}

/**
 * The names that git-annex stores `key` under: `GPGHMACSHA1--` and the MAC of its serialization
 * (https://git-annex.branchable.com/encryption/). The serialization is decoded by the writer's locale and then encoded as
 * UTF-8, so that bytes beyond ASCII give one name in a UTF-8 locale and another one in the C locale.
 */
export function encryptedNames(key: Key, mac: string, secret: Buffer): readonly Key[] {
  const raw = Buffer.from(key.raw, 'latin1')
  const texts = [inUtf8Locale(raw), inCLocale(raw)]
  const names = new Set(texts.map((text) => nameFor(text, mac, secret)))
  return [...names].map((name) => {
    const parsed = parseKey(name)
    if (parsed === undefined) throw new AnnexfsError('INVALID', `${name} is not a key`)
    return parsed
  })
}

function nameFor(text: Buffer, mac: string, secret: Buffer): string {
  const digest = createHmac(DIGESTS.get(mac) ?? '', secret)
    .update(text)
    .digest('hex')
  return `GPG${mac}--${digest}`
}

/** GHC's round-trip encoding: a byte that is no UTF-8 becomes U+DC00 plus itself, here as three bytes. */
function surrogate(byte: number): number[] {
  const code = 0xdc00 + byte
  return [0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f)]
}

function inCLocale(raw: Buffer): Buffer {
  return Buffer.from([...raw].flatMap((byte) => (byte < 0x80 ? [byte] : surrogate(byte))))
}

function inUtf8Locale(raw: Buffer): Buffer {
  if (isUtf8(raw)) return raw
  const bytes: number[] = []
  for (let at = 0; at < raw.length;) {
    const length = [1, 2, 3, 4].find((count) => at + count <= raw.length && isUtf8(raw.subarray(at, at + count)))
    if (length === undefined) bytes.push(...surrogate(raw[at] ?? 0))
    else bytes.push(...raw.subarray(at, at + length))
    at += length ?? 1
  }
  return Buffer.from(bytes)
}
