import type { Key } from '../annex/key.js'
import type { Bytes, Urgency } from '../space/space.js'
import type { Plaintext } from './plaintext.js'

/** How the objects of one encrypted remote are named and read. Its secrets are in memory only. */
export interface Cipher {
  /** The name that `key` (of a content, or of a chunk of one) is stored under, as git-annex makes it in a UTF-8 locale. */
  nameOf(key: Key): Key
  /** All names that it may be stored under, likeliest first: those of keys beyond ASCII depend on the writer's locale. */
  namesOf(key: Key): readonly Key[]
  /**
   * Decrypts one object. Nothing of the plaintext is given before all of it was authenticated; encryption to public keys
   * proves only that it is undamaged, since everybody can encrypt to them.
   * @throws AnnexfsError CORRUPT when it was tampered with, is cut off, not protected, or longer than expected;
   * UNAVAILABLE when the user's gpg cannot decrypt it; SYSTEM without gpg or room; ABORTED, TIMED_OUT; and what `source`
   * throws.
   */
  decrypt(source: AsyncIterable<Uint8Array>, options: DecryptOptions): Promise<Plaintext>
}

export interface DecryptOptions {
  /** The exact length of the plaintext, when it is known. */
  readonly size?: Bytes
  /** The longest plaintext that is taken, where the length is not known. */
  readonly most: Bytes
  readonly urgency: () => Urgency
  readonly signal: AbortSignal
}
