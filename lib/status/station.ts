import type { WatchedFile } from '../engine/activity-file.js'
import { originName, type Origins } from '../engine/activity-origins.js'
import type { Engine } from '../engine/engine.js'
import type { Milliseconds } from '../space/space.js'
import type { SwarmStatus } from '../swarm/swarm.js'
import { pieceMapOf } from './piece-map.js'
import type { FileStatus, OriginStatus, PeerStatus, Snapshot, Station, WaitingRead } from './snapshot.js'
import { whatItWaitsFor } from '../engine/wait-reason.js'

/** What the engine itself does not know. */
export interface StationOptions {
  readonly engine: Engine
  readonly version: string
  readonly cacheFolder: string
  /** As they are to be shown: without credentials (see `shownSources`). */
  readonly sources: Snapshot['sources']
  readonly mountpoint?: string
  /** Base URL of the gateway, once there is one. */
  readonly gateway?: () => string | undefined
}

const MOST_FILES = 200
const MOST_WAITING = 100
const MOST_ERRORS = 50
const MOST_PEERS = 200
/** Everybody who asks within this time is told the same. */
const FRESH: Milliseconds = 200

/** The facts about an engine that runs. Looking costs something only while somebody looks. */
export function stationOf(options: StationOptions): Station {
  const started = Date.now()
  let taken: { readonly at: Milliseconds; readonly snapshot: Promise<Snapshot> } | undefined
  return {
    snapshot: () => {
      const now = performance.now()
      if (taken === undefined || now - taken.at > FRESH) {
        taken = { at: now, snapshot: snapshotOf(options, started) }
        // Whoever asked is told; a failed one is not kept.
        taken.snapshot.catch(() => (taken = undefined))
      }
      return taken.snapshot
    },
    pieceMap: async (id) => {
      const file = openFile(options.engine, id)
      return Promise.resolve(file === undefined ? undefined : pieceMapOf(file, options.engine.spaces))
    },
  }
}

async function snapshotOf(options: StationOptions, started: Milliseconds): Promise<Snapshot> {
  const { engine, version, cacheFolder, sources, mountpoint } = options
  const { activity, store, swarm } = engine
  const [room, pinned, peers] = await Promise.all([store.room(), store.pins.bytes(), swarm.status()])
  noteSuppliers(engine)
  const gateway = options.gateway?.()
  const budget = budgetOf(engine)
  return {
    version,
    pid: process.pid,
    started,
    now: Date.now(),
    ...(mountpoint !== undefined && { mountpoint }),
    ...(gateway !== undefined && { gateway }),
    sources,
    files: filesOf(engine),
    origins: originsOf(activity.origins),
    peers: peersOf(peers, activity.files),
    cache: {
      folder: cacheFolder,
      used: room.usedBytes,
      limit: room.limitBytes,
      pinned,
      evictions: store.evicted.pieces + peers.evicted.pieces,
      evictedBytes: store.evicted.bytes + peers.evicted.bytes,
      ...(room.lowDisk !== undefined && { lowDisk: room.lowDisk }),
    },
    waiting: waitingOf(engine),
    errors: activity.errors.slice(0, MOST_ERRORS),
    readBytes: activity.readBytes,
    fetchedBytes: activity.fetchedBytes,
    ...(budget !== undefined && { budget }),
  }
}

/** Sources that have brought nothing yet are told of too, and why one was set aside. */
function noteSuppliers({ spaces, activity }: Engine): void {
  for (const origin of activity.origins.values()) origin.setAside = undefined
  for (const fetcher of spaces.fetchers()) {
    for (const { source, place, setAside } of fetcher.suppliers) {
      const origin = activity.origins.of(source, place)
      if (setAside !== false) origin.setAside = setAside
    }
  }
}

function budgetOf({ spaces: { quota } }: Engine): Snapshot['budget'] {
  if (quota === undefined) return undefined
  const { bytes, per } = quota.spec
  return { limit: bytes, left: quota.left, ...(per !== undefined && { per }) }
}

function openFile({ activity }: Engine, id: string): WatchedFile | undefined {
  for (const file of activity.files) if (file.id === id) return file
  return undefined
}

function filesOf({ activity }: Engine): FileStatus[] {
  const byId = new Map<string, WatchedFile[]>()
  for (const file of activity.files) {
    const same = byId.get(file.id)
    if (same === undefined) byId.set(file.id, [file])
    else same.push(file)
  }
  const latest = (files: readonly WatchedFile[]): Milliseconds => Math.max(...files.map((file) => file.lastRead))
  return [...byId.values()]
    .sort((a, b) => latest(b) - latest(a))
    .slice(0, MOST_FILES)
    .flatMap((files) => fileOf(files))
}

/** Of all who have the same open. */
function fileOf(files: readonly WatchedFile[]): FileStatus[] {
  const [file] = files
  if (file === undefined) return []
  const { path, id, size } = file
  const about = {
    path,
    id,
    size,
    readers: files.length,
    positions: files.flatMap((one) => one.positions),
    lastRead: Math.max(...files.map((one) => one.lastRead)),
  }
  const view = file.view()
  if (view === undefined) return [{ ...about, cached: size, verified: 'none', origins: [file.place] }]
  const { slice, cache, fetcher, wholeness } = view
  const cached = cache.cachedIn(slice.offset, slice.offset + slice.length)
  const verified = wholeness.isWhole ? 'whole' : cached === 0 ? 'none' : cache.summary().assurance
  const origins = new Set(fetcher.suppliers.flatMap((one) => (one.setAside === false ? [originName(one.source)] : [])))
  return [{ ...about, cached, verified, origins: [...origins] }]
}

function originsOf(origins: Origins): OriginStatus[] {
  const now = performance.now()
  return [...origins.values()].map((origin) => {
    const { name, kind, throughput, latency, active, failures } = origin
    const trouble = origin.trouble(now)
    return {
      name,
      kind,
      fetched: throughput.total,
      rate: Math.round(throughput.rate(now)),
      history: throughput.history(now),
      ...(latency !== undefined && { latency: Math.round(latency * 10) / 10 }),
      active,
      failures,
      ...(trouble !== undefined && { trouble }),
    }
  })
}

function peersOf({ torrents }: SwarmStatus, files: Iterable<WatchedFile>): PeerStatus[] {
  const paths = pathsOfKeys(files)
  return torrents
    .flatMap(({ infohash, name: own, peers }) => {
      const name = paths.get(`btih:${infohash}`) ?? own
      return peers.map(({ address, client, downloadSpeed, uploadSpeed, choking, kind }) => ({
        torrent: infohash,
        ...(name !== undefined && { name }),
        address,
        client,
        down: Math.round(downloadSpeed),
        up: Math.round(uploadSpeed),
        choked: choking,
        kind,
      }))
    })
    .sort((a, b) => b.down - a.down)
    .slice(0, MOST_PEERS)
}

/** Of the annexed files that are read as torrents, by space: such a torrent is named after the key. */
function pathsOfKeys(files: Iterable<WatchedFile>): ReadonlyMap<string, string> {
  const paths = new Map<string, string>()
  for (const file of files) {
    const space = file.view()?.slice.space.id
    if (space?.startsWith('btih:') === true && !file.contentId.startsWith(space)) paths.set(space, file.path)
  }
  return paths
}

function waitingOf({ activity }: Engine): WaitingRead[] {
  const reads: WaitingRead[] = []
  for (const { file, range, since } of activity.waits.now()) {
    if (reads.length >= MOST_WAITING) break
    reads.push({ path: file.path, range, since, what: whatItWaitsFor(file, range) })
  }
  return reads
}
