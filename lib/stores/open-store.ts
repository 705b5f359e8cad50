import type { AnnexRemote } from '../annex/remote.js'
import { isEncrypted } from '../cipher/scheme.js'
import type { StoreContext } from './context.js'
import { directoryStore } from './directory.js'
import { externalStore } from './external.js'
import { gitAnnexStore } from './git-annex.js'
import { gitLfsStore } from './git-lfs.js'
import { gitLocalStore } from './git-local.js'
import { gitSshStore } from './git-ssh.js'
import { gitWebStore } from './git-web.js'
import { httpalsoStore, isWebUrl } from './httpalso.js'
import { importedFiles, isImportedDirectory } from './imported-files.js'
import { p2pHttpBase } from './p2p-http.js'
import { rsyncStore } from './rsync.js'
import { s3Store } from './s3.js'
import { isSshUrl } from './ssh-address.js'
import type { ObjectStore } from './store.js'
import { webdavStore } from './webdav.js'

/** Makes the store of a remote. @throws AnnexfsError INVALID, UNSUPPORTED when its configuration cannot work. */
export type OpenStore = (context: StoreContext) => ObjectStore | Promise<ObjectStore>

/** How a remote is read from (`byGitAnnex`: whole keys, chunks and encryption undone), or why it is not. */
export type Way = UsableWay | { readonly unusable: string }

export interface UsableWay {
  readonly open: OpenStore
  readonly byGitAnnex: boolean
}

/** Special remotes with a store of their own, by their type. */
const KINDS: ReadonlyMap<string, OpenStore> = new Map<string, OpenStore>([
  ['directory', openDirectory],
  ['rsync', rsyncStore],
  ['S3', s3Store],
  ['webdav', webdavStore],
  ['git-lfs', gitLfsStore],
  ['external', externalStore],
  ['httpalso', httpalsoStore],
])

function openDirectory(context: StoreContext): ObjectStore {
  const { remote, annex } = context
  const store = directoryStore(context)
  return isImportedDirectory(remote) ? importedFiles(store, remote, annex) : store
}

/** How `remote` is read from. Looks at its settings alone. What has no store of its own git-annex is to transfer from. */
export function wayTo(remote: AnnexRemote): Way {
  if (!remote.configured) {
    const refusal = whyNotByItself(remote)
    if (refusal !== undefined) return { unusable: refusal }
  }
  const own = remote.kind === 'git' ? gitStore(remote) : KINDS.get(remote.kind)
  if (typeof own === 'string') return { unusable: own }
  if (own !== undefined) return { open: own, byGitAnnex: false }
  return { open: gitAnnexStore, byGitAnnex: true }
}

/**
 * Remotes that only remote.log names are somebody else's word: those are used that are to be enabled everywhere, are
 * reached by http or https (under the address policy), and need neither a secret nor a program. Undefined when it is one.
 */
function whyNotByItself(remote: AnnexRemote): string | undefined {
  const enable = `git annex enableremote ${remote.name}`
  if (remote.config.get('autoenable') !== 'true') return `is not enabled in this repository (${enable})`
  const { config, kind, url = '' } = remote
  const readable =
    (kind === 'git' && isWebUrl(url)) ||
    (kind === 'httpalso' && isWebUrl(config.get('url') ?? '')) ||
    (kind === 'S3' && isPublicBucket(config))
  if (!readable) return `is not enabled in this repository, and of a kind that must be (${enable})`
  const encryption = config.get('encryption')
  return !isEncrypted(config) || encryption === 'shared' ? undefined : `needs a secret key (${enable})`
}

/** A bucket that everybody may read from: over its public URL, or unsigned. */
function isPublicBucket(config: ReadonlyMap<string, string>): boolean {
  return (
    config.get('public') === 'yes' || isWebUrl(config.get('publicurl') ?? '') || config.get('signature') === 'anonymous'
  )
}

function gitStore(remote: AnnexRemote): OpenStore | string | undefined {
  const { url = '' } = remote
  if (remote.directory !== undefined) return gitLocalStore
  if (isWebUrl(url) || isWebUrl(remote.config.get('url') ?? '') || p2pHttpBase(url) !== undefined) return gitWebStore
  if (isSshUrl(url)) return gitSshStore
  if (/^git:\/\//i.test(url)) return 'git:// carries no annexed content'
  return undefined
}
