import { LRUCache } from 'lru-cache'
import { displayKey } from '../annex/key.js'
import { isAnnexfsError, reasonOf } from '../errors.js'
import type { GitRepository } from '../git/repository.js'
import { rateLimited, type Log } from '../log/log.js'
import type { Metainfo } from '../torrent/torrent.js'
import { longestManifest, parseManifest } from './format.js'
import { ManifestRefs, type ManifestTip } from './refs.js'
import { manifestPath, type ManifestKey } from './rule.js'
import type { ManifestSignatures } from './signatures.js'
import { ManifestTrees } from './trees.js'

/** Bytes of manifests that are kept parsed. */
const KEPT_BYTES = 16 * 1024 * 1024
/** Manifests of one key that differ and are given: one is right, and nobody lies so often for nothing. */
const MOST_VERSIONS = 4
/** Blobs at a key's place that are read in the search for those. */
const MOST_BLOBS = 16

export interface ManifestsOptions {
  readonly signatures: ManifestSignatures
  readonly log: Log
}

/** The manifests that a repository holds, for reading: looked up by key, never listed. */
export class Manifests {
  readonly refs: ManifestRefs
  readonly trees: ManifestTrees
  readonly #git: GitRepository
  readonly #log: Log
  /** By blob and key; undefined is kept too, so that a bad one is reported and read once. */
  readonly #parsed = new LRUCache<string, { readonly metainfo: Metainfo | undefined }>({
    maxSize: KEPT_BYTES,
    sizeCalculation: ({ metainfo }) => 1_000 + (metainfo?.raw.length ?? 0),
  })

  constructor(git: GitRepository, options: ManifestsOptions) {
    this.#git = git
    this.#log = rateLimited(options.log, 60_000)
    this.refs = new ManifestRefs(git, options.signatures, options.log)
    this.trees = new ManifestTrees(git)
  }

  /**
   * The manifests of `key` that differ in their infohash (mostly there is one), the repository's own first. What is not
   * exactly a manifest of the key is left out with a line in the log.
   * @throws AnnexfsError SYSTEM when git fails.
   */
  async find(key: ManifestKey): Promise<readonly Metainfo[]> {
    const blobs = new Set<string>()
    for (const tip of await this.refs.tips()) {
      const blob = await this.#blob(tip, key)
      if (blob !== undefined && blobs.size < MOST_BLOBS) blobs.add(blob)
    }
    const found = new Map<string, Metainfo>()
    for (const blob of blobs) {
      const metainfo = await this.load(key, blob)
      if (metainfo === undefined || found.size >= MOST_VERSIONS || found.has(metainfo.infohash)) continue
      found.set(metainfo.infohash, metainfo)
    }
    return [...found.values()]
  }

  /** The manifest that the blob `sha` is, or undefined (with a line in the log) when it is none of `key`. */
  async load(key: ManifestKey, sha: string): Promise<Metainfo | undefined> {
    const name = `${sha} ${key.raw}`
    const kept = this.#parsed.get(name)
    if (kept !== undefined) return kept.metainfo
    const metainfo = await this.#read(key, sha)
    this.#parsed.set(name, { metainfo })
    return metainfo
  }

  async #blob(tip: ManifestTip, key: ManifestKey): Promise<string | undefined> {
    try {
      return await this.trees.find(tip.tree, manifestPath(key))
    } catch (error) {
      if (isAnnexfsError(error, 'ABORTED')) throw error
      this.#log.warn('manifests cannot be read and are left out', { ref: tip.ref, reason: reasonOf(error) })
      return undefined
    }
  }

  async #read(key: ManifestKey, sha: string): Promise<Metainfo | undefined> {
    try {
      const object = await this.#git.objects.read(sha, longestManifest(key))
      return object?.type === 'blob' ? parseManifest(key, object.bytes) : undefined
    } catch (error) {
      if (isAnnexfsError(error, 'ABORTED')) throw error
      this.#log.warn('a manifest is not used', { key: displayKey(key), reason: reasonOf(error) })
      return undefined
    }
  }
}
