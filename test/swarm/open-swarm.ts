import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { textLog, type Log } from '../../lib/log/log.js'
import type { Holding } from '../../lib/sources/source.js'
import { startSwarm, type Swarm, type SwarmOptions } from '../../lib/swarm/swarm.js'
import type { Metainfo } from '../../lib/torrent/metainfo.js'

export const MIB = 1024 * 1024

/** A swarm that speaks to the named peers alone, with a cache of its own; closed with the test. */
export function openSwarm(
  t: Pick<TestContext, 'after'>,
  options: Partial<SwarmOptions> = {},
  lines: string[] = [],
): Swarm {
  const cache = options.cache ?? { folder: newCacheFolder(), limitBytes: 512 * MIB, minFreeBytes: 0 }
  const log: Log = textLog('debug', (line) => lines.push(line))
  const swarm = startSwarm(
    {
      peers: [],
      port: 0,
      uploadLimit: undefined,
      downloadLimit: undefined,
      maxConnections: 100,
      dht: false,
      lsd: false,
      pex: false,
      trackers: false,
      webSeeds: false,
      seed: true,
      allowAddress: () => true,
      ...options,
      cache,
    },
    log,
  )
  t.after(async () => {
    await swarm.close()
    await rm(cache.folder, { recursive: true, force: true })
  })
  return swarm
}

/** For a cache that several swarms use; {@link openSwarm} removes it when it has closed what it opened. */
export function newCacheFolder(): string {
  return mkdtempSync(join(tmpdir(), 'annexfs-test-'))
}

export async function holdingOf(swarm: Swarm, torrent: Metainfo): Promise<Holding> {
  const holding = await swarm.source(torrent).find(torrent.space, AbortSignal.timeout(60_000))
  if (holding === undefined) throw new Error('the swarm does not know the torrent')
  return holding
}

/** One piece, within `timeout` milliseconds. */
export async function readPiece(holding: Holding, index: number, timeout = 60_000): Promise<Uint8Array> {
  if (holding.piece === undefined) throw new Error('the swarm gives no pieces')
  return (await holding.piece(index, { urgency: 'read', signal: AbortSignal.timeout(timeout) })).bytes
}

/** All pieces in order, `ahead` of them wanted at once. */
export async function readAll(
  holding: Holding,
  count: number,
  each: (index: number, bytes: Uint8Array) => void,
  ahead = holding.parallel,
): Promise<void> {
  const wanted: Promise<Uint8Array>[] = []
  for (let index = 0; index < count; index++) {
    while (wanted.length < ahead && index + wanted.length < count) {
      const next = readPiece(holding, index + wanted.length, 120_000)
      next.catch(() => undefined)
      wanted.push(next)
    }
    const bytes = await wanted.shift()
    if (bytes !== undefined) each(index, bytes)
  }
}

/** Memory of a process that is in RAM, in bytes. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(match?.[1]) * 1024
}

export function isRunning(pid: number): boolean {
  if (!readdirSync('/proc').includes(String(pid))) return false
  return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
}
