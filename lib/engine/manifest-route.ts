import { displayKey, keyHash } from '../annex/key.js'
import { AnnexfsError, isAnnexfsError } from '../errors.js'
import type { SourceList } from '../scheduler/supply.js'
import type { Source } from '../sources/source.js'
import { webSeedSource } from '../sources/web-seed.js'
import type { Bytes } from '../space/space.js'
import type { Metainfo } from '../torrent/torrent.js'
import { checkWhole } from '../verify/whole.js'
import type { KeyContent } from './content.js'
import type { Deps } from './deps.js'
import { earlierSource } from './manifest-earlier.js'
import type { Route } from './routed-file.js'
import { spaceRoute } from './space-route.js'
import type { SpaceSpec } from './spaces.js'
import type { CheckWhole } from './wholeness.js'
import { readInto } from './read-into.js'

/** Content up to this size is fetched whole to find out whether its manifest or all of its sources are wrong. */
const LARGEST_DOUBT: Bytes = 1024 ** 3

/** What manifests say about the ways to a key's content. */
export interface ManifestWays {
  /** To be added to the content's id: what was read by a false manifest must not be taken for what is read now. */
  readonly version: string
  /** The way that is verified piece by piece, or that refuses; undefined when there is no manifest to go by. */
  readonly first: Route | undefined
  /** What to try when it has failed. */
  readonly fallbacks: readonly ((signal: AbortSignal) => Promise<Route>)[]
}

/**
 * Reads a key by its manifest: through the piece space of that torrent, which the cache, the swarm and all remotes
 * share. When all sources fail its hashes, either they or the manifest are wrong: the content is fetched whole and
 * compared with its key before a byte of it is given, and what proves to be false is not used again.
 * @param plain the key's own piece space.
 */
export async function manifestWays(content: KeyContent, plain: SpaceSpec, deps: Deps): Promise<ManifestWays> {
  const { metainfo, wrong } = await deps.manifests.find(content)
  const version = wrong === 0 ? '' : ` m${wrong}`
  if (metainfo === undefined) {
    return {
      version,
      first: deps.verify === 'manifest' && content.key.size !== 0 ? refusal(content) : undefined,
      fallbacks: [],
    }
  }
  const verified = spaceRoute('manifest', manifestSpec(content, metainfo, plain, deps), deps)
  const again = verified.generation === 0 ? '' : ` g${verified.generation}`
  let disputed = false
  const first: Route = {
    ...verified,
    read: (offset, length, into, signal) => {
      const result = verified.read(offset, length, into, signal)
      if (typeof result === 'number') return result
      return result.catch((error: unknown) => {
        disputed ||= isDispute(error)
        throw error
      })
    },
  }
  const settle = async (): Promise<Route> => {
    await refuseToSettle(content, metainfo, disputed, deps)
    return settlingRoute(content, metainfo, plain, deps)
  }
  return { version: `${version}${again}`, first, fallbacks: [settle] }
}

/** The piece space of a key's manifest: its pieces have hashes, and all of it is compared with the key as well. */
export function manifestSpec(content: KeyContent, metainfo: Metainfo, plain: SpaceSpec, deps: Deps): SpaceSpec {
  const { key } = content
  const hash = keyHash(key)
  const check: CheckWhole | undefined =
    hash === undefined
      ? undefined
      : async (slice, signal) => {
          const result = await checkWhole({ read: { cacheFolder: deps.cacheFolder }, slice, ...hash, signal })
          if (result === 'match') await deps.manifests.setRight(key, metainfo)
          if (result === 'mismatch') {
            await deps.manifests.setWrong(key, metainfo)
            await deps.spaces.peek(slice.space.id)?.cache.drop()
          }
          return result
        }
  return {
    slice: { space: metainfo.space, offset: 0, length: metainfo.length },
    sources: async () => withOthers(await plain.sources(), metainfo, plain, deps),
    check,
    checkedAs: key.raw,
  }
}

function withOthers(found: SourceList, metainfo: Metainfo, plain: SpaceSpec, deps: Deps): SourceList {
  const others: Source[] = [earlierSource(() => deps.spaces.acquire(plain))]
  if (deps.webSeeds) {
    for (const baseUrl of metainfo.webSeeds) {
      others.push(webSeedSource({ torrent: metainfo, baseUrl, client: deps.client, log: deps.log }))
    }
  }
  if (deps.manifests.settings.swarm) others.push(deps.swarm.source(metainfo))
  return { ...found, sources: [...found.sources, ...others] }
}

/** Whether a read failed because of bytes that have another hash than the manifest gives. */
function isDispute(error: unknown): boolean {
  if (!isAnnexfsError(error)) return false
  return HASH_DIFFERS.test(error.message) || error.attempts.some((one) => HASH_DIFFERS.test(one.reason))
}

/** As lib/verify/piece.ts says it: what a source brought is told apart from its failures by this alone. */
const HASH_DIFFERS = /does not have the hash that its metainfo gives/

/** @throws AnnexfsError when there is nothing to settle, or no way to do it. */
async function refuseToSettle(content: KeyContent, metainfo: Metainfo, disputed: boolean, deps: Deps): Promise<void> {
  if (!disputed) throw new AnnexfsError('UNAVAILABLE', 'the manifest is not in doubt')
  if (deps.verify === 'manifest') throw new AnnexfsError('FORBIDDEN', 'only what its manifest verifies is wanted')
  if (await deps.manifests.isRight(content.key, metainfo)) {
    throw new AnnexfsError('UNAVAILABLE', 'the manifest was found right before, so it is the sources that are wrong')
  }
  if (metainfo.length > LARGEST_DOUBT) {
    throw new AnnexfsError(
      'UNAVAILABLE',
      'all sources and the manifest disagree, and the content is too large to fetch it whole just to see which is ' +
        'right (mount with --no-manifests to read it unverified)',
    )
  }
  deps.log.warn('all sources gave other bytes than the manifest of a key says: fetching it whole to see who is right', {
    key: displayKey(content.key),
    infohash: metainfo.infohash,
  })
}

/** Reads the key's own piece space, of which nothing is given before all of it was compared with the key. */
function settlingRoute(content: KeyContent, metainfo: Metainfo, plain: SpaceSpec, deps: Deps): Route {
  const route = spaceRoute('remotes', plain, { ...deps, verify: 'strict' })
  let told = false
  const tell = async (): Promise<void> => {
    if (told) return
    told = true
    await deps.manifests.setWrong(content.key, metainfo)
  }
  return {
    ...route,
    read: async (offset, length, _into, signal) => {
      const own = Buffer.allocUnsafeSlow(length)
      const count = await readInto(route, offset, own, signal)
      await tell()
      return own.subarray(0, count)
    },
  }
}

/** The way of `--verify=manifest` to a key without one. Opening it succeeds: names and sizes are no secret. */
function refusal({ key }: KeyContent): Route {
  const error = new AnnexfsError(
    'FORBIDDEN',
    `${displayKey(key)} has no manifest that can be used, and --verify=manifest reads nothing without one ` +
      '(make it with annexfs manifest, or fetch the ref refs/annexfs/manifests)',
  )
  return { name: 'manifest', read: () => Promise.reject(error), close: () => undefined }
}
