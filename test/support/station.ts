import type { FileStatus, OriginStatus, PieceMap, PieceState, Snapshot, Station } from '../../lib/status/snapshot.js'

/** A Station whose state the test sets: for what is hard to bring about with a real one. */
export interface SetStation extends Station {
  state: Snapshot
  readonly maps: Map<string, PieceMap>
  /** How often it was asked. */
  readonly asked: { snapshots: number; maps: string[] }
  /** What `snapshot()` does before it answers. */
  before: () => Promise<void>
}

export function setStation(state: Partial<Snapshot> = {}): SetStation {
  const started = Date.now() - 3_725_000
  const asked = { snapshots: 0, maps: [] as string[] }
  return {
    state: { ...emptySnapshot(started), ...state },
    maps: new Map(),
    asked,
    before: () => Promise.resolve(),
    async snapshot() {
      asked.snapshots++
      await this.before()
      return { ...this.state, now: Date.now() }
    },
    pieceMap(id) {
      asked.maps.push(id)
      return Promise.resolve(this.maps.get(id))
    },
  }
}

export function emptySnapshot(started: number): Snapshot {
  return {
    version: '0.1.0',
    pid: 4242,
    started,
    now: started,
    mountpoint: '/mnt/archive',
    gateway: 'http://127.0.0.1:8080/',
    sources: [{ name: '', source: '/srv/archive', kind: 'annex' }],
    files: [],
    origins: [],
    peers: [],
    cache: { folder: '/var/cache/annexfs', used: 0, limit: 10 * 2 ** 30, pinned: 0, evictions: 0, evictedBytes: 0 },
    waiting: [],
    errors: [],
    readBytes: 0,
    fetchedBytes: 0,
  }
}

export function openFile(path: string, about: Partial<FileStatus> = {}): FileStatus {
  return {
    path,
    id: `key:${path}`,
    size: 2 ** 30,
    cached: 2 ** 28,
    verified: 'piece',
    readers: 1,
    positions: [2 ** 28],
    lastRead: Date.now(),
    origins: [],
    ...about,
  }
}

export function origin(name: string, about: Partial<OriginStatus> = {}): OriginStatus {
  return { name, kind: 'remote', fetched: 0, rate: 0, history: [], active: 0, failures: 0, ...about }
}

export function pieceMap(
  id: string,
  runs: readonly (readonly [PieceState, number, number])[],
  about: Partial<PieceMap> = {},
): PieceMap {
  const count = runs.reduce((sum, [, cells]) => sum + cells, 0) * (about.cell ?? 1)
  return { id, pieceLength: 2 ** 20, count, runs, cell: 1, origins: [], ...about }
}
