import { AnnexfsError } from '../errors.js'

/** How the session key of a message is protected: by a passphrase, or by public keys. */
export type Protection = 'passphrase' | 'public-key'

/** Packets of RFC 4880, section 4.3 (20: the AEAD packet of GnuPG 2.3). */
const PUBLIC_KEY_SESSION = 1
const PASSPHRASE_SESSION = 3
const UNPROTECTED_DATA = 9
const PROTECTED_DATA: readonly number[] = [18, 20]

/** One for each recipient. */
const MOST_PUBLIC_KEYS = 256
const LONGEST_HEAD = 256 * 1024

/**
 * Gives `source` on, but only after its beginning showed it to be an encrypted message of the expected kind. gpg gets
 * nothing else: of a message with a passphrase where public keys are meant it would ask the user for one, and a message
 * to the user's public key, which anybody can make, is none that knows the passphrase. Data without integrity protection
 * is refused.
 * @throws AnnexfsError CORRUPT.
 */
export async function checkedMessage(
  source: AsyncIterable<Uint8Array>,
  protection: Protection,
): Promise<AsyncGenerator<Uint8Array, void, undefined>> {
  const iterator = source[Symbol.asyncIterator]()
  let head: Buffer = Buffer.alloc(0)
  try {
    for (;;) {
      const next = await iterator.next()
      if (next.done === true) throw refused(head.length === 0 ? 'it is empty' : 'it is cut off')
      head = Buffer.concat([head, next.value])
      if (readHead(head, protection)) return rest(iterator, head)
      if (head.length > LONGEST_HEAD) throw refused('its beginning is too long')
    }
  } catch (error) {
    await iterator.return?.()
    throw error
  }
}

async function* rest(
  iterator: AsyncIterator<Uint8Array>,
  head: Uint8Array,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield head
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value
  } finally {
    await iterator.return?.()
  }
}

/** True when the data packet has been reached and everything before it is as it should; false when more is needed. */
function readHead(head: Buffer, protection: Protection): boolean {
  const expected = protection === 'passphrase' ? PASSPHRASE_SESSION : PUBLIC_KEY_SESSION
  const most = protection === 'passphrase' ? 1 : MOST_PUBLIC_KEYS
  let at = 0
  for (let count = 0; ; count++) {
    const first = head[at]
    if (first === undefined) return false
    if ((first & 0x80) === 0) throw refused('it is not an OpenPGP message')
    const tag = (first & 0x40) === 0 ? (first >> 2) & 15 : first & 63
    if (PROTECTED_DATA.includes(tag)) {
      if (count === 0) throw refused('it names no key')
      return true
    }
    if (tag === UNPROTECTED_DATA) throw refused('it has no integrity protection')
    if (tag !== expected || count >= most) throw refused(`it is not encrypted by ${protection} alone`)
    const length = packetLength(head, at)
    if (length === undefined) return false
    at += length
  }
}

/** Bytes of the packet at `at`, header included; undefined when more of it is needed to tell. */
function packetLength(head: Buffer, at: number): number | undefined {
  const first = head[at] ?? 0
  if ((first & 0x40) === 0) {
    const size = [1, 2, 4][first & 3]
    if (size === undefined) throw refused('a packet has no length')
    return head.length < at + 1 + size ? undefined : 1 + size + head.readUIntBE(at + 1, size)
  }
  const one = head[at + 1]
  if (one === undefined) return undefined
  if (one < 192) return 2 + one
  if (one < 224) {
    const two = head[at + 2]
    return two === undefined ? undefined : 3 + ((one - 192) << 8) + two + 192
  }
  if (one !== 255) throw refused('a packet of its head has no length')
  return head.length < at + 6 ? undefined : 6 + head.readUInt32BE(at + 2)
}

function refused(why: string): AnnexfsError {
  return new AnnexfsError('CORRUPT', `the object is not what the remote's encryption makes: ${why}`)
}
