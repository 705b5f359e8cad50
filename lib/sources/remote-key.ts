import { abortable } from '../abortable.js'
import { displayKey, isStable, type Key } from '../annex/key.js'
import type { AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import type { Cipher } from '../cipher/cipher.js'
import { isEncrypted } from '../cipher/scheme.js'
import { AnnexfsError, throwIfAborted } from '../errors.js'
import type { Log } from '../log/log.js'
import type { ObjectStore } from '../stores/store.js'
import { StoredContent } from './chunks-holding.js'
import { layoutsOf } from './chunks-layout.js'
import type { Source, SourceLimits } from './source.js'

export interface RemoteKeyOptions {
  readonly remote: AnnexRemote
  /** Of the remote; stays open. */
  readonly store: ObjectStore
  readonly annex: AnnexRepository
  readonly key: Key
  readonly cost: number
  readonly name: string
  readonly log: Log
  /** Opens the cipher of the remote, once; undefined when it is not encrypted. */
  readonly cipher: () => Promise<Cipher | undefined>
  /** Of an exported or imported tree: where the content may lie in it. */
  readonly paths?: readonly Buffer[]
  readonly place?: string
  readonly limits?: SourceLimits
}

/** What the user writes to allow what cannot be checked (git-annex(1), `annex.security.allow-unverified-downloads`). */
const ACKNOWLEDGED = 'ACKTHPPT'

/** Programs, and services by programs, whose transfers may be led to read local files or private addresses. */
const UNSAFE_KINDS = ['external', 'hook', 'glacier']

/**
 * A key in a remote: whole or in chunks, plain or encrypted, by hash directories or as a file of an exported tree, in
 * whatever way the chunk log, the remote's settings and the store say (https://git-annex.branchable.com/chunking/).
 *
 * Authenticity: a chunk is bound to its place by its name alone. Two chunks of one key that were swapped in the store
 * decrypt well, and only another length or the hash of the whole key tells; the same holds for objects that somebody else
 * encrypted to the public keys of a remote of the kinds `pubkey` and `sharedpubkey`.
 */
export function remoteKeySource(options: RemoteKeyOptions): Source {
  const { remote, store, annex, key, cost, name, log, paths, place, limits } = options
  const held = new Set<StoredContent>()
  let closed = false

  return {
    name,
    cost,
    ...(place === undefined ? {} : { place }),
    ...(limits === undefined ? {} : { limits }),
    find: async (space, signal) => {
      throwIfAborted(signal)
      const { length } = space
      if (closed || (key.size !== undefined && key.size !== length)) return undefined
      for (const content of held) {
        if (content.length === length && !content.exhausted) return content
        held.delete(content)
        content.close()
      }
      await checkVerifiable(options)
      const cipher = paths === undefined ? await abortable(options.cipher(), signal) : undefined
      if (cipher === undefined && paths === undefined && isEncrypted(remote.config)) {
        throw new AnnexfsError('INVALID', `remote ${remote.name} is encrypted, but its cipher was not opened`)
      }
      const tree = paths === undefined ? {} : { paths }
      const layouts = await layoutsOf({ remote, store, annex, key, length, cipher, ...tree })
      const content = await StoredContent.find({ name, length, layouts, store, cipher, log }, signal)
      if (content === undefined) return undefined
      if (closed) content.close()
      else held.add(content)
      return content
    },
    measure: async (signal) => {
      if (isEncrypted(remote.config) || paths !== undefined) return undefined
      await checkVerifiable(options)
      const object = await store.open({ key, content: key }, signal)
      const size = object?.size
      object?.close?.()
      return size === undefined ? undefined : { size, validator: '' }
    },
    close: () => {
      closed = true
      for (const content of held) content.close()
      held.clear()
    },
  }
}

/**
 * What cannot be checked against its key is not taken from where somebody else could have put anything under its name
 * (https://git-annex.branchable.com/security/CVE-2018-10857_and_CVE-2018-10859/), unless the user allows it.
 * @throws AnnexfsError FORBIDDEN.
 */
async function checkVerifiable({ remote, annex, key, paths }: RemoteKeyOptions): Promise<void> {
  if (isStable(key)) return
  const replaceable = paths !== undefined && remote.config.get('versioning') !== 'yes'
  if (!replaceable && !isEncrypted(remote.config) && !UNSAFE_KINDS.includes(remote.kind)) return
  // Of the user's configuration alone: remote.log is somebody else's word.
  const config = await annex.git.config()
  const own = remote.configured
    ? config.get(`remote.${remote.name}.annex-security-allow-unverified-downloads`)
    : undefined
  if ((own ?? config.get('annex.security.allow-unverified-downloads')) === ACKNOWLEDGED) return
  const kind = replaceable ? 'exported' : isEncrypted(remote.config) ? 'encrypted' : remote.kind
  throw new AnnexfsError(
    'FORBIDDEN',
    `${displayKey(key)} is not taken from the ${kind} remote ${remote.name}, because a ${key.backend} key cannot be ` +
      `checked; annex.security.allow-unverified-downloads=${ACKNOWLEDGED} allows it`,
  )
}
