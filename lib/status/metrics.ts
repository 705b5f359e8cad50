import type { IncomingMessage, ServerResponse } from 'node:http'
import { Counter, Gauge, Registry } from 'prom-client'
import type { OriginStatus, Snapshot, Station } from './snapshot.js'

/** The content type that {@link metrics} is to be sent with. */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/**
 * The facts of a station as Prometheus text. All names start with `annexfs_`; the only labels are the version and the
 * origins, which the engine bounds: those beyond its bound are counted together as `others`.
 */
export async function metrics(station: Station): Promise<string> {
  const snapshot = await station.snapshot()
  const registry = new Registry()
  total(registry, snapshot)
  cache(registry, snapshot)
  origins(registry, snapshot.origins)
  return registry.metrics()
}

/** Answers `/-/metrics` of a gateway. */
export function metricsHandler(
  station: Station,
): (request: IncomingMessage, response: ServerResponse) => Promise<boolean> {
  return async (request, response) => {
    if (request.url?.replace(/\?.*$/s, '') !== '/-/metrics') return false
    const body = await metrics(station)
    response.setHeader('Content-Type', METRICS_TYPE)
    response.setHeader('Cache-Control', 'no-store')
    response.setHeader('Content-Length', Buffer.byteLength(body))
    response.end(request.method === 'HEAD' ? undefined : body)
    return true
  }
}

function total(registry: Registry, snapshot: Snapshot): void {
  const { version, started, files, waiting, peers, readBytes, fetchedBytes, budget, now } = snapshot
  const info = new Gauge({
    name: 'annexfs_info',
    help: 'Always 1; the version of annexfs is its label.',
    labelNames: ['version'],
    registers: [registry],
  })
  info.set({ version }, 1)
  gauge(registry, 'start_time_seconds', 'When it was started, in seconds since 1970.', started / 1000)
  gauge(
    registry,
    'resident_memory_bytes',
    'Resident memory of its process, without the swarm.',
    process.memoryUsage.rss(),
  )
  counter(registry, 'read_bytes_total', 'Bytes that were given to readers.', readBytes)
  counter(registry, 'fetched_bytes_total', 'Bytes that were fetched from all origins.', fetchedBytes)
  gauge(registry, 'open_files', 'Files that are open.', files.length)
  gauge(registry, 'readers', 'How often files are open.', sum(files.map((file) => file.readers)))
  gauge(registry, 'waiting_reads', 'Reads that wait for bytes.', waiting.length)
  const oldest = waiting[0]
  const waited = oldest === undefined ? 0 : Math.max(0, now - oldest.since) / 1000
  gauge(registry, 'waiting_read_oldest_seconds', 'How long the oldest of them has waited.', waited)
  gauge(registry, 'peers', 'BitTorrent peers that are connected.', peers.length)
  gauge(registry, 'peers_choking', 'Of these, those that refuse requests.', peers.filter((peer) => peer.choked).length)
  gauge(registry, 'peers_down_bytes_per_second', 'Payload from peers.', sum(peers.map((peer) => peer.down)))
  gauge(registry, 'peers_up_bytes_per_second', 'Payload to peers.', sum(peers.map((peer) => peer.up)))
  if (budget === undefined) return
  gauge(registry, 'budget_bytes', 'What may be fetched within the time of the budget.', budget.limit)
  gauge(registry, 'budget_left_bytes', 'What may be fetched still.', budget.left)
}

function cache(registry: Registry, { cache: facts }: Snapshot): void {
  gauge(registry, 'cache_used_bytes', 'What the cache takes on disk.', facts.used)
  gauge(registry, 'cache_limit_bytes', 'The bound of the cache.', facts.limit)
  gauge(registry, 'cache_pinned_bytes', 'What is kept for pinned files, at the most.', facts.pinned)
  counter(registry, 'cache_evictions_total', 'Pieces that were evicted.', facts.evictions)
  counter(registry, 'cache_evicted_bytes_total', 'Bytes that were evicted.', facts.evictedBytes)
}

const PER_ORIGIN: readonly {
  readonly name: string
  readonly help: string
  readonly counts: boolean
  readonly value: (origin: OriginStatus) => number | undefined
}[] = [
  { name: 'fetched_bytes_total', help: 'Bytes that came from it.', counts: true, value: (one) => one.fetched },
  { name: 'failures_total', help: 'Requests to it that failed.', counts: true, value: (one) => one.failures },
  { name: 'bytes_per_second', help: 'Its rate over the last seconds.', counts: false, value: (one) => one.rate },
  { name: 'transfers', help: 'Transfers that are under way.', counts: false, value: (one) => one.active },
  {
    name: 'latency_seconds',
    help: 'Time to the first byte, smoothed.',
    counts: false,
    value: (one) => (one.latency === undefined ? undefined : one.latency / 1000),
  },
  {
    name: 'in_trouble',
    help: '1 while it rests after failures or was set aside.',
    counts: false,
    value: (one) => (one.trouble === undefined ? 0 : 1),
  },
]

function origins(registry: Registry, all: readonly OriginStatus[]): void {
  for (const { name, help, counts, value } of PER_ORIGIN) {
    const options = {
      name: `annexfs_origin_${name}`,
      help,
      labelNames: ['origin', 'kind'] as const,
      registers: [registry],
    }
    const set = counts ? inc(new Counter(options)) : setter(new Gauge(options))
    for (const origin of all) {
      const now = value(origin)
      if (now !== undefined) set({ origin: origin.name, kind: origin.kind }, now)
    }
  }
}

type Set = (labels: { readonly origin: string; readonly kind: string }, value: number) => void

function inc(own: Counter<'origin' | 'kind'>): Set {
  return (labels, value) => own.inc(labels, value)
}

function setter(own: Gauge<'origin' | 'kind'>): Set {
  return (labels, value) => own.set(labels, value)
}

function gauge(registry: Registry, name: string, help: string, value: number): void {
  new Gauge({ name: `annexfs_${name}`, help, registers: [registry] }).set(value)
}

function counter(registry: Registry, name: string, help: string, value: number): void {
  new Counter({ name: `annexfs_${name}`, help, registers: [registry] }).inc(value)
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0)
}
