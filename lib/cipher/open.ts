import { availableParallelism } from 'node:os'
import type { AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import type { Scratch } from '../cache/scratch.js'
import { AnnexfsError, isAnnexfsError, reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import type { Cipher, DecryptOptions } from './cipher.js'
import { runGpg } from './gpg.js'
import { DEFAULT_GPG, gpgSettings, type GpgSettings } from './gpg-settings.js'
import { checkedMessage } from './message-head.js'
import { encryptedNames } from './names.js'
import { plaintextSink, type Plaintext } from './plaintext.js'
import { encryptionScheme, secretOf, type Scheme, type Secret } from './scheme.js'
import { Slots } from '../slots.js'

export type { Cipher, DecryptOptions } from './cipher.js'

export interface CipherOptions {
  /** The remote's settings in remote.log: `encryption`, `cipher`, `mac`. */
  readonly config: ReadonlyMap<string, string>
  /** A private folder for large plaintexts (unlinked files); used where there is no `scratch`. */
  readonly folder: string
  /** Room for them under the cache's bound. */
  readonly scratch?: Scratch
  readonly log: Log
  readonly gpg?: GpgSettings
}

/** A pinentry may wait for a human. */
const SECRET_TIMEOUT: Milliseconds = 60_000
/** After so long it is said that a human may be needed. */
const SECRET_SLOW: Milliseconds = 5_000
/** The secret of a cipher has some hundred bytes. */
const LONGEST_SECRET = 64 * 1024
/** A failure to open is given again for so long, so that every read of a file does not start gpg anew. */
const FAILURE_KEPT: Milliseconds = 5_000

/** Never for the terminal, never over the network, nothing but decrypting. */
const ALWAYS = ['--batch', '--no-tty', '--no-auto-check-trustdb', '--skip-verify', '--disable-dirmngr']

/**
 * Opens the cipher of an encrypted remote; undefined when it is not encrypted. The kinds `hybrid` and `pubkey` need one
 * of the user's secret keys, by the user's gpg and its agent.
 * @throws AnnexfsError INVALID, UNSUPPORTED (settings), UNAVAILABLE (no usable secret key), TIMED_OUT, SYSTEM (no gpg).
 */
export async function openCipher(options: CipherOptions): Promise<Cipher | undefined> {
  const scheme = encryptionScheme(options.config)
  if (scheme === undefined) return undefined
  const gpg = options.gpg ?? DEFAULT_GPG
  const inTheClear = scheme.encryption === 'shared' || scheme.encryption === 'sharedpubkey'
  const cipher = inTheClear ? scheme.cipher : await decryptedSecret(scheme.cipher, gpg, options.log)
  return new GpgCipher(scheme, secretOf(scheme.encryption, cipher), gpg, options)
}

/** What {@link openCipher} gives, opened at the first call and then kept; a failure is given again for five seconds. */
export function remoteCipher(options: {
  readonly remote: AnnexRemote
  readonly annex: AnnexRepository
  readonly folder: string
  readonly scratch?: Scratch
  readonly log: Log
}): () => Promise<Cipher | undefined> {
  const { remote, annex, log } = options
  let opened: Promise<Cipher | undefined> | undefined
  let failedAt = 0
  const open = async (): Promise<Cipher | undefined> => {
    try {
      if (encryptionScheme(remote.config) === undefined) return undefined
      return await openCipher({ ...options, config: remote.config, gpg: await gpgSettings(annex, remote, log) })
    } catch (error) {
      failedAt = performance.now()
      const code = isAnnexfsError(error) ? error.code : 'SYSTEM'
      throw new AnnexfsError(code, `the encryption of remote ${remote.name} cannot be opened: ${reasonOf(error)}`, {
        cause: error,
      })
    }
  }
  return () => {
    if (failedAt !== 0 && performance.now() - failedAt > FAILURE_KEPT) {
      failedAt = 0
      opened = undefined
    }
    opened ??= open()
    return opened
  }
}

async function decryptedSecret(message: Buffer, gpg: GpgSettings, log: Log): Promise<Buffer> {
  const parts: Uint8Array[] = []
  let length = 0
  const slow = setTimeout(() => {
    log.warn('gpg takes long to open the key of an encrypted remote: it may be waiting for a passphrase or a card')
  }, SECRET_SLOW)
  try {
    await runGpg({
      program: gpg.program,
      args: userArguments(gpg, LONGEST_SECRET),
      input: await checkedMessage(once(message), 'public-key'),
      output: (bytes) => {
        length += bytes.byteLength
        if (length > LONGEST_SECRET) return Promise.reject(new AnnexfsError('CORRUPT', 'the cipher is too long'))
        parts.push(Buffer.from(bytes))
        return Promise.resolve()
      },
      signal: AbortSignal.timeout(SECRET_TIMEOUT),
    })
    return Buffer.concat(parts)
  } catch (error) {
    if (!isAnnexfsError(error, 'TIMED_OUT')) throw error
    throw new AnnexfsError(
      'TIMED_OUT',
      `gpg did not decrypt its key within ${SECRET_TIMEOUT} ms: unlock yours beforehand`,
    )
  } finally {
    clearTimeout(slow)
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes
}

function userArguments(gpg: GpgSettings, most: number): string[] {
  return [...gpg.decryptOptions, ...ALWAYS, '--no-auto-key-retrieve', '--max-output', String(most + 1)]
}

class GpgCipher implements Cipher {
  readonly #scheme: Scheme
  readonly #secret: Secret
  readonly #gpg: GpgSettings
  readonly #room: Pick<CipherOptions, 'folder' | 'scratch'>
  /** Of this remote alone: one that hangs does not keep others from decrypting. */
  readonly #slots = new Slots(Math.min(4, Math.max(2, availableParallelism())))

  constructor(scheme: Scheme, secret: Secret, gpg: GpgSettings, room: Pick<CipherOptions, 'folder' | 'scratch'>) {
    this.#scheme = scheme
    this.#secret = secret
    this.#gpg = gpg
    this.#room = room
  }

  nameOf: Cipher['nameOf'] = (key) => {
    const name = this.namesOf(key)[0]
    if (name === undefined) throw new AnnexfsError('INVALID', 'a key has no encrypted name')
    return name
  }

  namesOf: Cipher['namesOf'] = (key) => encryptedNames(key, this.#scheme.mac, this.#secret.mac)

  decrypt: Cipher['decrypt'] = async (source, options) => {
    const release = await this.#slots.take(options.signal, options.urgency)
    try {
      return await this.#decrypt(source, options)
    } finally {
      release()
    }
  }

  async #decrypt(source: AsyncIterable<Uint8Array>, options: DecryptOptions): Promise<Plaintext> {
    const { passphrase } = this.#secret
    const most = options.size ?? options.most
    const input = await checkedMessage(source, passphrase === undefined ? 'public-key' : 'passphrase')
    try {
      const args = passphrase === undefined ? userArguments(this.#gpg, most) : privateArguments(most)
      const sink = await plaintextSink({ ...this.#room, ...options })
      try {
        await runGpg({
          program: this.#gpg.program,
          args,
          ...(passphrase === undefined ? {} : { passphrase }),
          input,
          output: (bytes) => sink.write(bytes),
          signal: options.signal,
        })
        return sink.finish()
      } catch (error) {
        await sink.discard()
        throw error
      }
    } finally {
      // Not waited for: it may hang in the store, which has its own deadline.
      input.return().catch(() => undefined)
    }
  }
}

/** A passphrase needs neither the user's keys nor settings nor agent: a hostile object must not come near them. */
function privateArguments(most: number): string[] {
  const own = ['--homedir', '/dev/null', '--no-options', '--no-keyring', '--no-autostart', '--no-symkey-cache']
  return [...own, ...ALWAYS, '--pinentry-mode', 'loopback', '--max-output', String(most + 1)]
}
