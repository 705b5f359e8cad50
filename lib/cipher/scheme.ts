import { AnnexfsError } from '../errors.js'
import { checkMac, DEFAULT_MAC } from './names.js'

/** How a remote is encrypted, as its settings in remote.log say it. */
export interface Scheme {
  readonly encryption: 'shared' | 'hybrid' | 'pubkey' | 'sharedpubkey'
  readonly mac: string
  /** `cipher=` decoded: the secret itself (shared, sharedpubkey), or an OpenPGP message that holds it. */
  readonly cipher: Buffer
}

/** What a cipher in memory consists of. */
export interface Secret {
  /** Key of the MAC that makes names. */
  readonly mac: Buffer
  /** Passphrase of the objects; undefined when they are encrypted to public keys. */
  readonly passphrase: Buffer | undefined
}

/** A message to a hundred recipients has some 50 KB. */
const LONGEST_CIPHER = 1024 * 1024

/** The part of a symmetric secret that makes names; the rest is the passphrase (Crypto.hs, `cipherBeginning`). */
const MAC_LENGTH = 256

type Settings = ReadonlyMap<string, string>

/** Whether a remote's settings ask for encryption, whatever they say beyond. */
export function isEncrypted(config: Settings): boolean {
  const encryption = config.get('encryption')
  return encryption === undefined ? config.has('cipher') : encryption !== 'none'
}

/**
 * Reads the settings `encryption`, `cipher` and `mac`; undefined when the remote is not encrypted.
 * @throws AnnexfsError INVALID when the cipher is missing or damaged, UNSUPPORTED for an unknown kind.
 */
export function encryptionScheme(config: Settings): Scheme | undefined {
  if (!isEncrypted(config)) return undefined
  const encryption = config.get('encryption') ?? 'hybrid'
  if (encryption !== 'shared' && encryption !== 'hybrid' && encryption !== 'pubkey' && encryption !== 'sharedpubkey') {
    throw new AnnexfsError('UNSUPPORTED', `encryption=${encryption} is not known`)
  }
  const text = config.get('cipher') ?? ''
  if (text === '' || text.length > LONGEST_CIPHER || !/^[A-Za-z0-9+/\s]+={0,2}\s*$/.test(text)) {
    throw new AnnexfsError('INVALID', `encryption=${encryption}, but there is no usable cipher= in remote.log`)
  }
  const mac = checkMac(config.get('mac') ?? DEFAULT_MAC)
  return { encryption, mac, cipher: Buffer.from(text, 'base64') }
}

/**
 * The secret that is in the clear text `cipher`. The two kinds that encrypt to public keys use all of it, newline
 * included, for names; the symmetric ones cut it.
 * @throws AnnexfsError INVALID when it is too short.
 */
export function secretOf(encryption: Scheme['encryption'], cipher: Buffer): Secret {
  if (encryption === 'pubkey' || encryption === 'sharedpubkey') {
    if (cipher.length === 0) throw new AnnexfsError('INVALID', 'the cipher of the remote is empty')
    return { mac: cipher, passphrase: undefined }
  }
  const newline = cipher.indexOf(0x0a, MAC_LENGTH)
  const passphrase = cipher.subarray(MAC_LENGTH, newline < 0 ? cipher.length : newline)
  if (passphrase.length === 0) throw new AnnexfsError('INVALID', 'the cipher of the remote is too short')
  return { mac: cipher.subarray(0, MAC_LENGTH), passphrase }
}
