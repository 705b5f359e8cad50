import type { KeyContent } from './content.js'
import { displayKey, type Key } from '../annex/key.js'
import type { Facts } from '../cache/facts.js'
import { isAnnexfsError, reasonOf } from '../errors.js'
import type { GitRepository } from '../git/repository.js'
import type { Log } from '../log/log.js'
import { Manifests } from '../manifest/manifests.js'
import { canHaveManifest } from '../manifest/rule.js'
import type { ManifestSignatures } from '../manifest/signatures.js'
import type { Metainfo } from '../torrent/torrent.js'

/** How manifests are used (doc/MANIFESTS.md). */
export interface ManifestSettings {
  /** False: as if there were none. */
  readonly use: boolean
  readonly signatures: ManifestSignatures
  /** Also ask BitTorrent peers for what has a manifest; that tells the DHT and trackers what is read. */
  readonly swarm: boolean
}

export const DEFAULT_MANIFESTS: ManifestSettings = { use: true, signatures: 'ignore', swarm: false }

/** The manifest to read a key by. */
export interface UsableManifest {
  readonly metainfo: Metainfo | undefined
  /** How many manifests of the key are known to be false. */
  readonly wrong: number
}

/** What is known of the manifests of the repositories that are open, and of which of them were right and which false. */
export class ManifestAccess {
  readonly settings: ManifestSettings
  readonly #facts: Facts
  readonly #log: Log
  readonly #opened = new WeakMap<GitRepository, Manifests>()

  constructor(settings: ManifestSettings, facts: Facts, log: Log) {
    this.settings = settings
    this.#facts = facts
    this.#log = log
  }

  /** Looks for manifests in a repository that was just opened, so that the first file need not wait for it. */
  async prepare(git: GitRepository): Promise<void> {
    if (!this.settings.use) return
    try {
      await this.#of(git).refs.tips()
    } catch (error) {
      this.#log.debug('the refs that hold manifests cannot be looked at', { reason: reasonOf(error) })
    }
  }

  /** The first manifest of a key that is not known to be false. Asks git alone; never throws for what it finds there. */
  async find(content: KeyContent): Promise<UsableManifest> {
    const { key, annex } = content
    if (!this.settings.use || !canHaveManifest(key)) return { metainfo: undefined, wrong: 0 }
    let found: readonly Metainfo[]
    try {
      found = await this.#of(annex.git).find(key)
    } catch (error) {
      if (isAnnexfsError(error, 'ABORTED')) throw error
      this.#log.warn('the manifest of a key could not be looked up', { key: displayKey(key), reason: reasonOf(error) })
      return { metainfo: undefined, wrong: 0 }
    }
    const wrong = await Promise.all(found.map((one) => this.#is('manifest-wrong', key, one)))
    return { metainfo: found.find((_, index) => wrong[index] !== true), wrong: wrong.filter(Boolean).length }
  }

  /** All of the content was compared with its key and was right. */
  async setRight(key: Key, manifest: Metainfo): Promise<void> {
    await this.#facts.set('manifest-right', idOf(key, manifest), true)
  }

  isRight(key: Key, manifest: Metainfo): Promise<boolean> {
    return this.#is('manifest-right', key, manifest)
  }

  /** It is not used for the key again. */
  async setWrong(key: Key, manifest: Metainfo): Promise<void> {
    await this.#facts.set('manifest-wrong', idOf(key, manifest), true)
    this.#log.error('the manifest of a key is false and is not used again: its pieces are not the content of the key', {
      key: displayKey(key),
      infohash: manifest.infohash,
    })
  }

  async #is(fact: 'manifest-right' | 'manifest-wrong', key: Key, manifest: Metainfo): Promise<boolean> {
    return (await this.#facts.get(fact, idOf(key, manifest), (value) => (value === true ? true : undefined))) === true
  }

  #of(git: GitRepository): Manifests {
    const known = this.#opened.get(git)
    const manifests = known ?? new Manifests(git, { signatures: this.settings.signatures, log: this.#log })
    if (known === undefined) this.#opened.set(git, manifests)
    return manifests
  }
}

function idOf(key: Key, manifest: Metainfo): string {
  return `${key.raw} ${manifest.infohash}`
}
