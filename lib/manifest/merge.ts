import { displayKey } from '../annex/key.js'
import { throwIfAborted } from '../errors.js'
import type { GitRepository } from '../git/repository.js'
import type { Log } from '../log/log.js'
import { commitManifests, type Before, type Change } from './commit.js'
import { TreeMaker, type NewEntry } from './git-write.js'
import { Manifests } from './manifests.js'
import { MANIFEST_REF, type ManifestTip } from './refs.js'
import { keyAtPath } from './rule.js'
import type { ManifestSignatures } from './signatures.js'
import { changed, entriesOf, FOLDER, folderAt } from './tree-edit.js'
import type { Entries } from './trees.js'

export interface MergeOptions {
  readonly git: GitRepository
  readonly sign: boolean
  /** `require`: refs without a good signature are not merged. */
  readonly signatures: ManifestSignatures
  readonly signal: AbortSignal
  readonly log: Log
}

/** What a merge did. */
export interface MergeReport {
  /** Refs whose manifests are all in the repository's own now. */
  readonly refs: readonly string[]
  readonly added: number
  /** Manifests that were in the repository's own ref already, but unusable, and were replaced. */
  readonly replaced: number
  /** Keys for which another ref has a different manifest; the repository's own was kept. */
  readonly disputed: number
  /** Files of other refs that are no manifests, and were left out. */
  readonly refused: number
}

/**
 * The union of all refs of manifests into the repository's own. Of two different manifests of one key the own is kept,
 * unless it is none; nothing is taken that is not exactly a manifest of its key.
 * @throws AnnexfsError SYSTEM with what git said, ABORTED.
 */
export async function mergeManifests(options: MergeOptions): Promise<MergeReport> {
  const { git, sign, signatures, signal, log } = options
  const manifests = new Manifests(git, { signatures, log })
  const others = (await manifests.refs.tips()).filter((tip) => tip.ref !== MANIFEST_REF)
  const counts = { added: 0, replaced: 0, disputed: 0, refused: 0 }
  const refs: string[] = []
  for (const tip of others) {
    throwIfAborted(signal)
    const message = `annexfs manifest: merge ${tip.ref}`
    const union = new Union(manifests, git, log)
    await commitManifests({ git, message, sign, signal }, (before) => union.with(tip, before))
    for (const name of ['added', 'replaced', 'disputed', 'refused'] as const) counts[name] += union.counts[name]
    refs.push(tip.ref)
  }
  return { refs, ...counts }
}

class Union {
  readonly #manifests: Manifests
  readonly #git: GitRepository
  readonly #log: Log
  counts = { added: 0, replaced: 0, disputed: 0, refused: 0 }

  constructor(manifests: Manifests, git: GitRepository, log: Log) {
    this.#manifests = manifests
    this.#git = git
    this.#log = log
  }

  async with(tip: ManifestTip, before: Before | undefined): Promise<Change | undefined> {
    this.counts = { added: 0, replaced: 0, disputed: 0, refused: 0 }
    if (before !== undefined && (await this.#isAncestor(tip.commit, before.commit))) return undefined
    const maker = new TreeMaker(this.#git.gitDir)
    try {
      const tree = await this.#folders(maker, [], before?.tree, tip.tree)
      if (tree === undefined) return undefined
      if (tree === tip.tree && (before === undefined || (await this.#isAncestor(before.commit, tip.commit)))) {
        return { commit: tip.commit }
      }
      return { tree, parents: before === undefined ? [tip.commit] : [before.commit, tip.commit] }
    } finally {
      await maker.close()
    }
  }

  /** The union of two trees of folders: of the root's, or of those in one of its folders. */
  async #folders(
    maker: TreeMaker,
    path: readonly string[],
    own: string | undefined,
    other: string,
  ): Promise<string | undefined> {
    if (own === other) return own
    const { trees } = this.#manifests
    const mine = await entriesOf(trees, own)
    const news: NewEntry[] = []
    for (const entry of (await trees.entries(other)).values()) {
      if ((entry.mode & 0o170000) !== FOLDER || !/^[0-9a-f]{3}$/.test(entry.name)) {
        this.counts.refused += 1
        continue
      }
      const below = [...path, entry.name]
      const before = folderAt(mine, entry.name)
      const sha =
        below.length === 1
          ? await this.#folders(maker, below, before, entry.sha)
          : await this.#files(maker, below, before, entry.sha)
      if (sha !== undefined && sha !== before) news.push({ mode: FOLDER, name: entry.name, sha })
    }
    return news.length === 0 ? own : maker.make(changed(mine, news))
  }

  async #files(
    maker: TreeMaker,
    path: readonly string[],
    own: string | undefined,
    other: string,
  ): Promise<string | undefined> {
    if (own === other) return own
    const { trees } = this.#manifests
    const mine: Entries = await entriesOf(trees, own)
    const news: NewEntry[] = []
    for (const entry of (await trees.entries(other)).values()) {
      const before = mine.get(entry.name)
      if (before?.sha === entry.sha) continue
      const taken = await this.#choose([path[0] ?? '', path[1] ?? '', entry.name], before?.sha, entry.sha)
      if (taken) news.push({ mode: 0o100644, name: entry.name, sha: entry.sha })
    }
    return news.length === 0 ? own : maker.make(changed(mine, news))
  }

  /** Whether the other's manifest is taken. */
  async #choose(path: readonly [string, string, string], own: string | undefined, other: string): Promise<boolean> {
    const key = keyAtPath(path)
    const theirs = key === undefined ? undefined : await this.#manifests.load(key, other)
    if (key === undefined || theirs === undefined) {
      this.counts.refused += 1
      return false
    }
    if (own === undefined) {
      this.counts.added += 1
      return true
    }
    const mine = await this.#manifests.load(key, own)
    if (mine === undefined) {
      this.counts.replaced += 1
      return true
    }
    if (mine.infohash !== theirs.infohash) {
      this.counts.disputed += 1
      this.#log.warn('two manifests of a key differ, so one is false; the own one is kept', { key: displayKey(key) })
    }
    return false
  }

  async #isAncestor(commit: string, of: string): Promise<boolean> {
    if (commit === of) return true
    const bases = await this.#git.run(['rev-list', '--max-count=1', commit, `^${of}`, '--'], {
      maxOutput: 4096,
      timeout: 60_000,
    })
    return bases.length === 0
  }
}
