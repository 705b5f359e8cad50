import { isUtf8 } from 'node:buffer'
import { AnnexfsError } from '../errors.js'
import type { Credentials } from '../stores/context.js'
import type { Cipher } from './cipher.js'

/** User and password, or access key and secret; longer ones are none. */
const LONGEST = 64 * 1024

/**
 * Reads embedded credentials (`s3creds=`, `davcreds=` of remote.log): base64 of two lines, encrypted with the cipher of
 * the remote when it has one. Those of old versions of git-annex are in the clear even so.
 * @throws AnnexfsError INVALID when they are neither, and as {@link Cipher.decrypt}.
 */
export async function decryptCreds(options: {
  readonly text: string
  readonly cipher: Cipher | undefined
  readonly signal: AbortSignal
}): Promise<Credentials> {
  const { text, cipher, signal } = options
  if (text.length > LONGEST) throw new AnnexfsError('INVALID', 'the embedded credentials are too long')
  const stored = storedBytes(Buffer.from(text, 'base64'))
  const clear = cipher === undefined || isTwoLines(stored) ? stored : await decrypted(stored, cipher, signal)
  const [user, password] = clear.toString(isUtf8(clear) ? 'utf8' : 'latin1').split('\n')
  if (user === undefined || password === undefined) {
    throw new AnnexfsError('INVALID', 'the embedded credentials are not a user and a password')
  }
  return { user, password }
}

/**
 * git-annex in a UTF-8 locale writes each byte of an encrypted message as a character, in UTF-8; elsewhere as it is. A
 * message that is not so written is never UTF-8: what follows its first byte does not continue it.
 */
function storedBytes(bytes: Buffer): Buffer {
  if ((bytes[0] ?? 0) < 0x80 || !isUtf8(bytes)) return bytes
  const text = bytes.toString('utf8')
  const written = Buffer.from(text, 'latin1')
  return written.toString('latin1') === text ? written : bytes
}

/** An OpenPGP message starts with a byte beyond ASCII. */
function isTwoLines(stored: Buffer): boolean {
  return stored.length > 0 && (stored[0] ?? 0) < 0x80 && stored.includes(0x0a)
}

async function decrypted(stored: Buffer, cipher: Cipher, signal: AbortSignal): Promise<Buffer> {
  const source = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    yield stored
  }
  const plaintext = await cipher.decrypt(source(), { most: LONGEST, urgency: () => 'read', signal })
  try {
    const parts: Uint8Array[] = []
    for await (const part of plaintext.read({ start: 0, end: plaintext.size }, signal)) parts.push(part)
    return Buffer.concat(parts)
  } finally {
    await plaintext.close()
  }
}
