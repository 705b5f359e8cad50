import { AnnexfsError } from '../errors.js'
import type { Milliseconds } from '../space/space.js'
import type { StoreContext } from './context.js'
import { AnnexClone } from './git-annex-clone.js'
import { ownSetting, requireOwnRepository } from './external-policy.js'
import { findProgram } from './external-process.js'
import type { ObjectStore, WholeStore } from './store.js'
import { wholeObjects } from './whole.js'

export interface GitAnnexOptions {
  /** A transfer that brings nothing for so long is ended. */
  readonly patience?: Milliseconds
  readonly grace?: Milliseconds
}

/** borg and glacier may look for a while before the first byte. */
const PATIENCE: Milliseconds = 300_000

/**
 * Any remote that git-annex itself can read: by `git annex get` in a private clone within the cache. Objects are whole
 * keys; chunks and encryption are undone by git-annex, which checks the key's hash too, so neither is wrapped around it.
 * @throws AnnexfsError UNSUPPORTED when git-annex is not installed or the remote is only named by the git-annex branch;
 * FORBIDDEN when the repository is another user's.
 */
export async function gitAnnexStore(context: StoreContext, options: GitAnnexOptions = {}): Promise<ObjectStore> {
  const { remote, log, folder, scratch } = context
  const known = (await ownSetting(context, 'annex-uuid')) ?? (await ownSetting(context, 'url'))
  if (known === undefined) {
    throw new AnnexfsError(
      'UNSUPPORTED',
      `${remote.name} (${remote.kind}) is not configured here; run "git annex enableremote ${remote.name}" first`,
    )
  }
  await requireOwnRepository(context)
  const program = await findProgram('git-annex', context.forbid)
  const clone = new AnnexClone(context, program, options.patience ?? PATIENCE)
  const store: WholeStore = {
    // git-annex writes what it has into a file of its own, and in order only with some kinds of remotes.
    ordered: false,
    // Asking costs as much as trying, and with some kinds more.
    has: () => Promise.resolve(undefined),
    retrieve: (name, file, how) => clone.get(name, file, how),
    close: () => clone.close(),
  }
  const { grace } = options
  return wholeObjects(store, {
    name: `${remote.name} (${remote.kind})`,
    folder,
    log,
    checked: true,
    ...(scratch === undefined ? {} : { scratch }),
    ...(grace === undefined ? {} : { grace }),
  })
}
