import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { GitRepository } from '../git/repository.js'
import type { Bytes } from '../space/space.js'
import { commitManifests } from './commit.js'
import { encodeManifest } from './format.js'
import { TreeMaker, writeGit } from './git-write.js'
import { manifestPath, type ManifestKey } from './rule.js'
import { placeBlobs, type Placed } from './tree-edit.js'
import { ManifestTrees } from './trees.js'

export interface RecorderOptions {
  readonly git: GitRepository
  readonly sign: boolean
  readonly signal: AbortSignal
}

interface Pending {
  readonly key: ManifestKey
  readonly bytes: Buffer
}

/** Gathers manifests and commits them to the repository's own ref, many at a time. Nothing else is written. */
export class ManifestRecorder {
  readonly #options: RecorderOptions
  #pending = new Map<string, Pending>()
  #bytes: Bytes = 0

  constructor(options: RecorderOptions) {
    this.#options = options
  }

  /** Bytes of the manifests that wait for {@link commit}. */
  get pendingBytes(): Bytes {
    return this.#bytes
  }

  /** @param pieces the SHA-1 digests of the pieces, one after the other. */
  add(key: ManifestKey, pieces: Uint8Array): void {
    this.#put(key, encodeManifest(key, pieces))
  }

  /**
   * Commits what was added since, on top of whatever others have committed meanwhile.
   * @returns how many manifests are new in the ref or differ from what was there.
   * @throws AnnexfsError SYSTEM with what git said, ABORTED; what was added is still pending then.
   */
  async commit(): Promise<number> {
    if (this.#pending.size === 0) return 0
    const pending = this.#pending
    this.#pending = new Map()
    this.#bytes = 0
    try {
      return await this.#write([...pending.values()])
    } catch (error) {
      for (const { key, bytes } of pending.values()) this.#put(key, bytes)
      throw error
    }
  }

  async #write(added: readonly Pending[]): Promise<number> {
    const { git, sign, signal } = this.#options
    const blobs = await this.#writeBlobs(added.map(({ bytes }) => bytes))
    const placed = added.map(({ key }, index): Placed => ({ path: manifestPath(key), sha: blobs[index] ?? '' }))
    const trees = new ManifestTrees(git)
    let fresh: readonly Placed[] = []
    const message = `annexfs manifest: ${added.length === 1 ? '1 key' : `${added.length} keys`}`
    await commitManifests({ git, message, sign, signal }, async (before) => {
      fresh = before === undefined ? placed : await withoutKnown(trees, before.tree, placed)
      if (fresh.length === 0) return undefined
      const maker = new TreeMaker(git.gitDir)
      try {
        const tree = await placeBlobs(trees, maker, before?.tree, fresh)
        return { tree, parents: before === undefined ? [] : [before.commit] }
      } finally {
        await maker.close()
      }
    })
    return fresh.length
  }

  #put(key: ManifestKey, bytes: Buffer): void {
    this.#pending.set(key.raw, { key, bytes })
    this.#bytes += bytes.length
  }

  /** One process for all of them; git reads them from files. */
  async #writeBlobs(contents: readonly Buffer[]): Promise<readonly string[]> {
    const folder = await mkdtemp(join(tmpdir(), 'annexfs-'))
    try {
      const paths = contents.map((_, index) => join(folder, String(index)))
      for (const [index, content] of contents.entries()) await writeFile(paths[index] ?? '', content)
      const { git, signal } = this.#options
      const args = ['hash-object', '-w', '--no-filters', '--stdin-paths']
      const ids = await writeGit(git.gitDir, args, { input: paths.map((path) => `${path}\n`).join(''), signal })
      return ids.split('\n')
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
}

async function withoutKnown(trees: ManifestTrees, root: string, placed: readonly Placed[]): Promise<Placed[]> {
  const fresh: Placed[] = []
  for (const one of placed) if ((await trees.find(root, one.path)) !== one.sha) fresh.push(one)
  return fresh
}
