import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { displayKey, escapeBytes, isStable, keyFile, keyHash, type Key } from '../annex/key.js'
import { AnnexfsError, attemptText, reasonOf, type Attempt } from '../errors.js'
import { shownUrl } from '../net/url.js'
import { sourcesForKey, type KeySources } from '../sources/annex.js'
import type { Measured, Source } from '../sources/source.js'
import { pieceLengthFor, type Bytes, type Milliseconds, type SpaceId } from '../space/space.js'
import { checkWhole } from '../verify/whole.js'
import { abortable } from '../abortable.js'
import type { KeyContent } from './content.js'
import type { Deps } from './deps.js'
import { knownTorrents, type KnownTorrent } from './known-torrents.js'
import { localRoute } from './local-object.js'
import { manifestWays } from './manifest-route.js'
import { torrentRoute } from './open-torrent.js'
import { RoutedFile, type Route } from './routed-file.js'
import { spaceRoute } from './space-route.js'
import type { SpaceSpec } from './spaces.js'
import { unusable } from './unusable.js'
import { torrentAt } from './torrent-urls.js'
import type { OpenFile } from './volume.js'
import type { CheckWhole } from './wholeness.js'

/** Space ids are bounded; longer keys are named by a hash of them. */
const LONGEST_ID = 480
/** A question about size and version; an open that waits for it cannot be killed. */
const QUESTION_TIMEOUT: Milliseconds = 10_000
/** A key that says its size is opened without knowing its version when the source is slow to say it. */
const SIZED_PATIENCE: Milliseconds = 3_000

/** A server that did not answer is not asked for versions again for this long. */
const SILENT_FOR: Milliseconds = 60_000

/**
 * Opens an annexed file. In order of cost: the repository's own object, read in place; the key's piece space, filled
 * from its remotes; torrents recorded for it.
 * @throws AnnexfsError UNAVAILABLE when the size is not in the key and no source could tell it.
 */
export async function openKey(content: KeyContent, deps: Deps, signal: AbortSignal): Promise<OpenFile> {
  const { annex, key } = content
  const object = await annex.objectPath(key)
  const local = object === undefined ? undefined : await localRoute(key, object, deps, signal)
  if (local !== undefined && object !== undefined) {
    const routes = [(): Promise<Route> => fetchedRoute(content, object.size, deps)]
    return new RoutedFile({ contentId: content.id, size: object.size, log: deps.log, routes, first: local })
  }
  // Without a fixed content there is no manifest either: where that is demanded, nobody need be asked.
  const asks = !isStable(key) && deps.verify !== 'manifest'
  const learned = asks ? await learn(content, deps, signal) : undefined
  const size = key.size ?? learned?.size
  if (size === undefined) throw new AnnexfsError('UNAVAILABLE', `the size of ${displayKey(key)} is not known`)
  const spec = keySpace(content, size, learned, deps)
  const verified = await manifestWays(content, spec, deps)
  if (verified.first !== undefined) {
    const routes =
      deps.verify === 'manifest' ? verified.fallbacks : [...verified.fallbacks, torrents(content, spec, deps)]
    const contentId = `${content.id}${verified.version}`
    return new RoutedFile({ contentId, size, log: deps.log, routes, first: verified.first })
  }
  const known = await knownTorrents(content, size, deps)
  const torrent = await betterTorrent(known.usable, content, spec, deps)
  const remote = spaceRoute('remotes', spec, deps)
  // Most who open a file read it next.
  if (torrent === undefined && remote.view?.cache.has(0) === false) {
    annex.approach(key).catch((error: unknown) => {
      // Whoever reads it fails for the same reason, and says so.
      deps.log.debug('could not look for content ahead', { key: displayKey(key), reason: reasonOf(error) })
    })
  }
  const again = remote.generation === 0 ? '' : ` ${remote.generation}`
  // What was read of a torrent that is something else must not be taken for what is read now.
  const version = `${verified.version}${again}${known.wrong === 0 ? '' : ` t${known.wrong}`}`
  const routes = [torrents(content, spec, deps)]
  if (learned !== undefined) routes.unshift(changedRoute(content, learned, deps))
  const contentId = `${content.id}${learned === undefined ? '' : ` ${learned.validator}`}${version}`
  if (torrent === undefined) return new RoutedFile({ contentId, size, log: deps.log, routes, first: remote })
  remote.close()
  routes.unshift(() => Promise.resolve(spaceRoute('remotes', spec, deps)))
  return new RoutedFile({ contentId, size, log: deps.log, routes, first: torrent })
}

/**
 * The recorded torrent that is a better way to a key than its own space: all of it is cached as that torrent's, or nobody
 * else is recorded to have it and as much is cached. Only among those whose metainfo is known.
 */
async function betterTorrent(
  known: readonly KnownTorrent[],
  content: KeyContent,
  spec: SpaceSpec,
  deps: Deps,
): Promise<Route | undefined> {
  const size = spec.slice.length
  const cachedOf = (one: KnownTorrent): Bytes => deps.spaces.cached(one.slice).bytes
  const [best] = known.map((one) => ({ one, cached: cachedOf(one) })).sort((a, b) => b.cached - a.cached)
  if (best === undefined) return undefined
  const plain = deps.spaces.cached(spec.slice).bytes
  if (best.cached < plain || plain === size) return undefined
  if (best.cached < size) {
    const { sources } = await find(content, deps)
    for (const source of sources) source.close?.()
    if (sources.length > 0) return undefined
  }
  return torrentRoute(best.one.metainfo, best.one.file, content.key, size, deps)
}

/**
 * What is known of a key whose bytes are not fixed by its name; asked now if it was never. A key that says its size can
 * do without.
 */
async function learn(content: KeyContent, deps: Deps, signal: AbortSignal): Promise<Learned | undefined> {
  const known = await learnedSize(content.key, deps)
  if (known !== undefined) return known
  const silent = silentSources(deps)
  if (content.key.size !== undefined && silent.has(content.id)) return undefined
  const patient =
    content.key.size === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(SIZED_PATIENCE)])
  try {
    return await measureOnce(content, deps, patient)
  } catch (error) {
    if (content.key.size === undefined || signal.aborted) throw error
    silent.set(content.id, true)
    deps.log.debug('the version of content could not be learned', {
      key: displayKey(content.key),
      reason: reasonOf(error),
    })
    return undefined
  }
}

/**
 * Not a way to the bytes, but what to do when the source refused because the content there has changed since it was
 * first seen: the new version is remembered, and shows when the file is opened again.
 */
function changedRoute(content: KeyContent, learned: Learned, deps: Deps): (signal: AbortSignal) => Promise<Route> {
  return async (signal) => {
    const now = await measure(content, deps, signal).catch((error: unknown) => orUnnamed(error, content, learned, deps))
    if (now.source === learned.source && now.validator === learned.validator && now.size === learned.size) {
      throw new AnnexfsError('UNAVAILABLE', 'the content is still the same version')
    }
    throw new AnnexfsError(
      'CORRUPT',
      `the content at ${now.source} has changed since it was opened; open the file again`,
    )
  }
}

/**
 * When the source of the version that is known is gone, and no other says its version: all that are left are believed to
 * have the same.
 */
async function orUnnamed(error: unknown, content: KeyContent, learned: Learned, deps: Deps): Promise<Learned> {
  const { key } = content
  if (key.size === undefined) throw error
  const { sources } = await find(content, deps)
  for (const source of sources) source.close?.()
  if (sources.length === 0 || sources.some(({ name }) => name === learned.source)) throw error
  const unnamed: Learned = { size: key.size, validator: '', source: '' }
  await deps.facts.set('size', key.raw, unnamed)
  return unnamed
}

/** What is remembered of a key whose bytes its name does not fix. */
interface Learned extends Measured {
  readonly source: string
}

/** The size that was learned of a key without one, from disk; undefined when it was never learned. */
export function learnedSize(key: Key, deps: Pick<Deps, 'facts'>): Promise<Learned | undefined> {
  return deps.facts.get('size', key.raw, isLearned)
}

/**
 * The size of a key that does not say it: remembered, or asked of its sources now (and remembered for good).
 * @throws AnnexfsError UNAVAILABLE, TIMED_OUT.
 */
export async function sizeOf(content: KeyContent, deps: Deps, signal: AbortSignal): Promise<Bytes> {
  const known = await learnedSize(content.key, deps)
  return (known ?? (await measureOnce(content, deps, signal))).size
}

/** Keys that say their size and whose sources did not say their version: for a while they are opened without asking. */
const silences = new WeakMap<Deps, LRUCache<string, true>>()

function silentSources(deps: Deps): LRUCache<string, true> {
  const known = silences.get(deps) ?? new LRUCache<string, true>({ max: 10_000, ttl: SILENT_FOR })
  silences.set(deps, known)
  return known
}

/** Questions to sources that wait for an answer, by key: many readers may open a file at once. */
const asking = new WeakMap<Deps, Map<string, Promise<Learned>>>()

function measureOnce(content: KeyContent, deps: Deps, signal: AbortSignal): Promise<Learned> {
  const questions = asking.get(deps) ?? new Map<string, Promise<Learned>>()
  asking.set(deps, questions)
  let question = questions.get(content.id)
  if (question === undefined) {
    question = measure(content, deps, AbortSignal.timeout(QUESTION_TIMEOUT)).finally(() => {
      questions.delete(content.id)
    })
    questions.set(content.id, question)
  }
  return abortable(question, signal)
}

async function measure(content: KeyContent, deps: Deps, signal: AbortSignal): Promise<Learned> {
  const found = await find(content, deps)
  const attempts: Attempt[] = []
  const remember = async (learned: Learned): Promise<Learned> => {
    await deps.facts.set('size', content.key.raw, learned)
    return learned
  }
  for (const source of found.sources) {
    try {
      const measured = await source.measure?.(signal)
      if (measured !== undefined) return await remember({ ...measured, source: source.name })
      attempts.push({ source: source.name, reason: 'does not say the size' })
    } catch (error) {
      attempts.push({ source: source.name, reason: reasonOf(error) })
    } finally {
      source.close?.()
    }
  }
  for (const torrent of found.torrents) {
    try {
      const metainfo = await torrentAt(torrent.url, await ownDeps(content, deps), signal)
      const file = metainfo.files[torrent.file - 1]
      if (file !== undefined) return await remember({ size: file.length, validator: '', source: metainfo.infohash })
    } catch (error) {
      attempts.push({ source: shownUrl(torrent.url), reason: reasonOf(error) })
    }
  }
  throw new AnnexfsError(
    signal.aborted ? 'TIMED_OUT' : 'UNAVAILABLE',
    `the size of ${displayKey(content.key)} is not known and no source could tell it: ${listed([...attempts, ...unusable(found)])}`,
    { attempts },
  )
}

/** The way to a key's content past the local object. */
async function fetchedRoute(content: KeyContent, size: Bytes, deps: Deps): Promise<Route> {
  const learned = isStable(content.key) ? undefined : await learnedSize(content.key, deps)
  const spec = keySpace(content, size, learned, deps)
  return (await manifestWays(content, spec, deps)).first ?? spaceRoute('remotes', spec, deps)
}

/** The piece space of a key. Keys whose bytes may change under the same name get one per version of the content. */
function keySpace(content: KeyContent, size: Bytes, learned: Learned | undefined, deps: Deps): SpaceSpec {
  const { key } = content
  const hash = keyHash(key)
  const space = { id: spaceId(key, learned), length: size, pieceLength: pieceLengthFor(size) }
  const check: CheckWhole | undefined =
    hash === undefined
      ? undefined
      : (slice, signal) => checkWhole({ read: { cacheFolder: deps.cacheFolder }, slice, ...hash, signal })
  const spec: SpaceSpec = {
    slice: { space, offset: 0, length: size },
    sources: async () => {
      const found = await find(content, deps, learned)
      lately.set(spec, found)
      return { sources: found.sources, unusable: unusable(found), state: found.state }
    },
    check,
  }
  return spec
}

/** What was found for a space when it was looked for last: its logs may be long. */
const lately = new WeakMap<SpaceSpec, KeySources>()

/** The id of the piece space that holds a key's pieces. */
export async function keySpaceId(key: Key, deps: Pick<Deps, 'facts'>): Promise<SpaceId> {
  return spaceId(key, isStable(key) ? undefined : await learnedSize(key, deps))
}

function spaceId(key: Key, learned: Learned | undefined): SpaceId {
  const name = escapeBytes(keyFile(key))
  const bounded = name.length <= LONGEST_ID ? name : `sha256-${sha256(key.raw)}`
  if (isStable(key)) return `key:${bounded}` as SpaceId
  return `url:${sha256(`${key.raw}\n${learned?.source ?? ''}\n${learned?.validator ?? ''}`)}` as SpaceId
}

function torrents(content: KeyContent, spec: SpaceSpec, deps: Deps): (signal: AbortSignal) => Promise<Route> {
  return async (signal) => {
    // Nobody goes this way before the remotes were tried.
    const found = lately.get(spec) ?? (await find(content, deps))
    const size = spec.slice.length
    const attempts: Attempt[] = []
    for (const torrent of found.torrents) {
      try {
        const metainfo = await torrentAt(torrent.url, await ownDeps(content, deps), signal)
        return await torrentRoute(metainfo, torrent.file - 1, content.key, size, deps)
      } catch (error) {
        attempts.push({ source: shownUrl(torrent.url), reason: reasonOf(error) })
      }
    }
    throw new AnnexfsError(
      'UNAVAILABLE',
      // That there is none is nothing to tell: few keys have one.
      attempts.length === 0 ? '' : 'no torrent of it can be used',
      { attempts },
    )
  }
}

async function find(content: KeyContent, deps: Deps, learned?: Learned): Promise<KeySources> {
  const { annex, key } = content
  const { log, stores } = deps
  const found = await sourcesForKey({
    annex,
    key,
    stores: stores.of(annex),
    log,
    ...(learned !== undefined && { measured: learned }),
  })
  if (found.sources.length === 0 && found.torrents.length === 0 && found.unsupported.length > 0) {
    // Whoever reads it is told so.
    log.debug('content is only where it cannot be read from', {
      key: displayKey(key),
      places: found.unsupported.map(({ source, reason }) => `${source} ${reason}`).join('; '),
    })
  }
  return learned === undefined ? found : { ...found, sources: onlyVersion(found.sources, learned) }
}

/** What a torrent that a key records is asked for with: the user's settings for this repository count. */
async function ownDeps(content: KeyContent, deps: Deps): Promise<Deps> {
  return { ...deps, client: await deps.stores.of(content.annex).client() }
}

/**
 * Bytes of two downloads are never mixed: only the source whose version is known, also when it is gone; all when it was a
 * torrent that told the size, or none says its version.
 */
function onlyVersion(sources: readonly Source[], { source }: Learned): readonly Source[] {
  return source === '' || INFOHASH.test(source) ? sources : sources.filter(({ name }) => name === source)
}

const INFOHASH = /^[0-9a-f]{40}$/

function listed(attempts: readonly Attempt[]): string {
  if (attempts.length === 0) return 'nothing is recorded about where it is'
  return attempts.map(attemptText).join('; ')
}

function sha256(text: string): string {
  return createHash('sha256').update(text, 'latin1').digest('hex')
}

function isLearned(value: unknown): Learned | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { size, validator, source } = value as Record<string, unknown>
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined
  if (typeof validator !== 'string' || typeof source !== 'string') return undefined
  return { size, validator, source }
}
