import { abortable } from '../abortable.js'
import type { Key } from '../annex/key.js'
import type { AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import { throwIfAborted } from '../errors.js'
import type { Log } from '../log/log.js'
import type { UsableWay } from '../stores/open-store.js'
import type { Stores } from '../stores/stores.js'
import { isTree } from '../stores/tree-objects.js'
import { remoteKeySource, type RemoteKeyOptions } from './remote-key.js'
import type { Source } from './source.js'

export interface RemoteSourceOptions {
  readonly remote: AnnexRemote
  readonly way: UsableWay
  readonly stores: Stores
  readonly annex: AnnexRepository
  readonly key: Key
  readonly name: string
  readonly cost: number
  readonly log: Log
}

/** Whether `remote` is worth asking for a key that the repositories `located` have; `own`: of the mounted one. */
export function mayHave(remote: AnnexRemote, located: ReadonlySet<string>, own: string | undefined): boolean {
  if (remote.ignore !== false || remote.trust === 'dead' || (remote.uuid !== '' && remote.uuid === own)) return false
  // A git remote that was never asked for its uuid shows it when it is looked at.
  if (remote.uuid === '') return remote.kind === 'git' && remote.configured && located.size > 0
  return located.has(remote.uuid) || isTrue(remote.config.get('annex-speculate-present'))
}

/**
 * The source that reads a key from `remote`. Asks nothing yet: neither is the store opened, nor an exported tree read,
 * before it is asked to find something.
 */
export async function remoteSource(options: RemoteSourceOptions): Promise<Source> {
  const { way, stores, annex, key, name, cost, log } = options
  const remote = way.byGitAnnex ? withoutLayout(options.remote) : options.remote
  const [{ store, cipher }, limits] = await Promise.all([stores.open(remote, way.open), stores.limits(remote)])
  const common: RemoteKeyOptions = {
    remote,
    store,
    cipher,
    annex,
    key,
    name,
    cost,
    log,
    limits,
    place: placeOf(remote),
  }
  return isTree(remote.config) ? treeSource(common, stores) : remoteKeySource(common)
}

/** Settings that say how keys lie in a store: who reads through git-annex sees nothing of it. */
const LAYOUT = ['encryption', 'cipher', 'chunk', 'chunksize', 'exporttree', 'importtree']

function withoutLayout(remote: AnnexRemote): AnnexRemote {
  return { ...remote, config: new Map([...remote.config].filter(([setting]) => !LAYOUT.includes(setting))) }
}

/** A key in a tree that was exported to a remote: where it lies there is looked up when it is first wanted. */
function treeSource(options: RemoteKeyOptions, stores: Stores): Source {
  const { remote, annex, key, name, cost, place, limits } = options
  let inner: Promise<Source> | undefined
  let closed = false
  const make = async (): Promise<Source> => {
    const trees = await annex.exportedTrees(remote.uuid)
    return remoteKeySource({ ...options, paths: await stores.exports.paths(key, trees) })
  }
  return {
    name,
    cost,
    ...(place === undefined ? {} : { place }),
    ...(limits === undefined ? {} : { limits }),
    find: async (space, signal) => {
      throwIfAborted(signal)
      inner ??= make().catch((error: unknown) => {
        inner = undefined
        throw error
      })
      const source = await abortable(inner, signal)
      if (closed) source.close?.()
      return source.find(space, signal)
    },
    close: () => {
      closed = true
      // Whoever waits for it closes it.
      inner?.then((source) => source.close?.()).catch(() => undefined)
    },
  }
}

/** What shares its line: all ways into one store do not, a remote does with itself. */
function placeOf(remote: AnnexRemote): string {
  return `remote ${remote.name} ${remote.configUuid ?? remote.uuid}`
}

function isTrue(value: string | undefined): boolean {
  return value !== undefined && ['yes', 'true', 'on', '1'].includes(value.toLowerCase())
}
