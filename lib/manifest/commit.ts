import { setTimeout as sleep } from 'node:timers/promises'
import { AnnexfsError, isAnnexfsError } from '../errors.js'
import type { GitRepository } from '../git/repository.js'
import { writeGit } from './git-write.js'
import { MANIFEST_REF } from './refs.js'

/** Others may write at the same time; each of them gets its turn well before this. */
const MOST_TRIES = 20
const LONGEST_PAUSE = 200

export interface CommitOptions {
  readonly git: GitRepository
  readonly message: string
  /** Sign with the user's git signing key. */
  readonly sign: boolean
  readonly signal: AbortSignal
}

/** What the ref points to when a change is made to it. */
export interface Before {
  readonly commit: string
  readonly tree: string
}

/** What it shall point to: an existing commit, or a new one. */
export type Change = { readonly commit: string } | { readonly tree: string; readonly parents: readonly string[] }

/**
 * Moves `refs/annexfs/manifests` by compare and swap: `change` is asked again, about what the ref points to then, when
 * somebody else has moved it meanwhile, so that nobody's manifests are lost. Undefined for nothing to do.
 * @returns the commit that the ref was moved to.
 * @throws AnnexfsError SYSTEM with what git said (no identity, no signing key), ABORTED.
 */
export async function commitManifests(
  options: CommitOptions,
  change: (before: Before | undefined) => Promise<Change | undefined>,
): Promise<string | undefined> {
  const { git, message, sign, signal } = options
  for (let tries = 1; ; tries++) {
    const before = await currentTip(git)
    const wanted = await change(before)
    if (wanted === undefined) return undefined
    const commit =
      'commit' in wanted
        ? wanted.commit
        : await writeGit(
            git.gitDir,
            [
              'commit-tree',
              ...(sign ? ['-S'] : ['--no-gpg-sign']),
              ...wanted.parents.flatMap((parent) => ['-p', parent]),
              '-m',
              message,
              wanted.tree,
            ],
            { signal },
          )
    // An empty old value: the ref must not be there.
    const update = ['update-ref', '-m', message, MANIFEST_REF, commit, before?.commit ?? '']
    try {
      await writeGit(git.gitDir, update, { signal })
      return commit
    } catch (error) {
      const moved = (await currentTip(git))?.commit !== before?.commit
      const locked = isAnnexfsError(error, 'SYSTEM') && /cannot lock ref/.test(error.message)
      if (tries >= MOST_TRIES || (!moved && !locked)) throw error
      await sleep(Math.random() * LONGEST_PAUSE, undefined, { signal }).catch((reason: unknown) => {
        throw new AnnexfsError('ABORTED', 'the caller gave up', { cause: reason })
      })
    }
  }
}

async function currentTip(git: GitRepository): Promise<Before | undefined> {
  const [commit, tree] = await git.objects.infos([`${MANIFEST_REF}^{commit}`, `${MANIFEST_REF}^{tree}`])
  return commit === undefined || tree === undefined ? undefined : { commit: commit.sha, tree: tree.sha }
}
