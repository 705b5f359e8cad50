import { printable } from '../lib/log/log.js'
import type { Milliseconds } from '../lib/space/space.js'
import type { FileStatus, OriginStatus, PeerStatus, Snapshot, WaitingRead } from '../lib/status/snapshot.js'
import { fit, wrapText } from './columns.js'
import { showSize } from './units.js'

/** Rows of a table that are shown; what is more is counted. */
const MOST_ROWS = 10
const MOST_ERROR_LINES = 4
const MOST_TORRENTS = 5
const BAR = 10

/** A snapshot for a terminal of `width` columns, at most `height` lines. */
export function statusText(snapshot: Snapshot, width: number, height = Infinity): string {
  const lines = [
    ...head(snapshot, width),
    ...table('ORIGINS', snapshot.origins.filter(isOfNote).sort(byRate), width, ORIGIN),
    ...table('FILES', snapshot.files, width, FILE),
    ...waiting(snapshot, width),
    ...peers(snapshot, width),
    ...errors(snapshot, width),
  ]
  const shown = lines.length <= height ? lines : [...lines.slice(0, height - 1), '…']
  return `${shown.map((line) => line.trimEnd()).join('\n')}\n`
}

function head(snapshot: Snapshot, width: number): string[] {
  const { version, pid, started, now, mountpoint, gateway, sources, cache, readBytes, fetchedBytes, budget } = snapshot
  const rate = snapshot.origins.reduce((sum, origin) => sum + origin.rate, 0)
  const share = cache.limit === 0 ? 0 : Math.round((cache.used * 100) / cache.limit)
  const rows: [string, string][] = [
    ['mount', mountpoint ?? 'none'],
    ...(gateway === undefined ? [] : [['gateway', gateway] as [string, string]]),
    ...sources.map(({ name, source }): [string, string] => ['source', name === '/' ? source : `${name}  ${source}`]),
    ['running', `${showTime(now - started)}, annexfs ${version}, process ${pid}`],
    ['bytes', `${showSize(readBytes)} read, ${showSize(fetchedBytes)} fetched, now ${showSize(rate)}/s`],
    ['cache', `${showSize(cache.used)} of ${showSize(cache.limit)} (${share} %), ${cache.folder}`],
    ['', `${showSize(cache.pinned)} pinned, ${cache.evictions} pieces evicted (${showSize(cache.evictedBytes)})`],
  ]
  if (cache.lowDisk !== undefined) {
    const { free, minFree } = cache.lowDisk
    rows.push(['', `nothing can be cached: ${showSize(free)} free there, and --min-free is ${showSize(minFree)}`])
  }
  if (budget !== undefined) {
    const per = budget.per === undefined ? '' : ` in ${showTime(budget.per)}`
    rows.push(['budget', `${showSize(budget.left)} left of ${showSize(budget.limit)}${per}`])
  }
  return rows.map(([name, value]) => `${name.padEnd(8)} ${fit(printable(value), width - 9, { middle: true })}`)
}

interface Column<T> {
  readonly title: string
  /** Undefined takes what the others leave. */
  readonly width?: number
  readonly right?: boolean
  readonly value: (row: T) => string
}

const ORIGIN: readonly Column<OriginStatus>[] = [
  { title: '', value: (one) => (one.trouble === undefined ? one.name : `${one.name}: ${one.trouble}`) },
  { title: 'now', width: 11, right: true, value: (one) => (one.rate === 0 ? '-' : `${showSize(one.rate)}/s`) },
  { title: 'fetched', width: 9, right: true, value: (one) => showSize(one.fetched) },
  {
    title: 'answers in',
    width: 11,
    right: true,
    value: (one) => (one.latency === undefined ? '-' : `${Math.round(one.latency)} ms`),
  },
  { title: 'active', width: 7, right: true, value: (one) => String(one.active) },
  { title: 'failed', width: 7, right: true, value: (one) => String(one.failures) },
]

const FILE: readonly Column<FileStatus>[] = [
  { title: '', value: (one) => one.path },
  { title: 'size', width: 9, right: true, value: (one) => showSize(one.size) },
  { title: 'cached', width: BAR + 6, right: true, value: (one) => bar(one.cached, one.size) },
  { title: 'checked', width: 8, right: true, value: (one) => (one.verified === 'none' ? '-' : one.verified) },
  { title: 'open', width: 5, right: true, value: (one) => String(one.readers) },
]

const PEER: readonly Column<PeerStatus>[] = [
  { title: '', value: (one) => one.address },
  { title: 'client', width: 14, value: (one) => one.client },
  { title: 'down', width: 11, right: true, value: (one) => (one.down === 0 ? '-' : `${showSize(one.down)}/s`) },
  { title: 'up', width: 11, right: true, value: (one) => (one.up === 0 ? '-' : `${showSize(one.up)}/s`) },
  { title: '', width: 8, right: true, value: (one) => (one.choked ? 'chokes' : '') },
]

function table<T>(name: string, rows: readonly T[], width: number, columns: readonly Column<T>[]): string[] {
  if (rows.length === 0) return []
  const taken = columns.reduce((sum, column) => sum + (column.width === undefined ? 0 : column.width + 1), 0)
  const line = (values: readonly string[]): string =>
    columns
      .map((column, index) => {
        const own = column.width ?? Math.max(8, width - taken)
        return fit(printable(values[index] ?? ''), own, {
          middle: column.width === undefined,
          right: column.right === true,
        })
      })
      .join(' ')
  const more = rows.length - MOST_ROWS
  return [
    '',
    line(columns.map((column, index) => (index === 0 ? name : column.title))),
    ...rows.slice(0, MOST_ROWS).map((row) => line(columns.map((column) => column.value(row)))),
    ...(more > 0 ? [`and ${more} more`] : []),
  ]
}

/** A table for each torrent, those with the fastest peers first. */
function peers({ peers: all }: Snapshot, width: number): string[] {
  const byTorrent = new Map<string, PeerStatus[]>()
  for (const peer of all) {
    const same = byTorrent.get(peer.torrent)
    if (same === undefined) byTorrent.set(peer.torrent, [peer])
    else same.push(peer)
  }
  const shown = [...byTorrent].slice(0, MOST_TORRENTS).flatMap(([torrent, own]) => {
    const name = own[0]?.name ?? torrent
    return table(`PEERS of ${name}`, own, width, PEER)
  })
  const more = byTorrent.size - MOST_TORRENTS
  return [...shown, ...(more > 0 ? ['', `and peers of ${more} more`] : [])]
}

function waiting({ waiting: reads, now }: Snapshot, width: number): string[] {
  if (reads.length === 0) return []
  const shown = reads.slice(0, MOST_ROWS).flatMap((read) => waitingLines(read, now, width))
  const more = reads.length - MOST_ROWS
  return ['', `WAITING (${reads.length})`, ...shown, ...(more > 0 ? [`and ${more} more`] : [])]
}

function waitingLines({ path, range, since, what }: WaitingRead, now: Milliseconds, width: number): string[] {
  const waited = `${((now - since) / 1000).toFixed(1)} s`
  const bytes = `at ${showSize(range.start)}`
  const first = `${fit(printable(path), width - 22, { middle: true })} ${fit(bytes, 12, { right: true })} ${fit(waited, 8, { right: true })}`
  return [first, ...wrapText(printable(what), width - 2, MOST_ERROR_LINES).map((line) => `  ${line}`)]
}

function errors({ errors: all, now }: Snapshot, width: number): string[] {
  if (all.length === 0) return []
  const shown = all.slice(0, MOST_ROWS).flatMap(({ time, path, reason }) => {
    const ago = `${showTime(now - time)} ago`
    const first = `${fit(printable(path), width - 15, { middle: true })} ${fit(ago, 14, { right: true })}`
    return [first, ...wrapText(printable(reason), width - 2, MOST_ERROR_LINES).map((line) => `  ${line}`)]
  })
  return ['', 'ERRORS', ...shown]
}

function isOfNote(origin: OriginStatus): boolean {
  return origin.fetched > 0 || origin.active > 0 || origin.failures > 0 || origin.trouble !== undefined
}

function byRate(a: OriginStatus, b: OriginStatus): number {
  return b.rate - a.rate || b.fetched - a.fetched
}

/** `###.......  31 %`: rounded down, so that only what is whole shows as whole. */
function bar(done: number, total: number): string {
  const share = total === 0 ? 1 : done / total
  const full = Math.floor(share * BAR)
  return `${'#'.repeat(full)}${'.'.repeat(BAR - full)} ${String(Math.floor(share * 100)).padStart(3)} %`
}

/** `5 s`, `12 min`, `3 h 20 min`, `4 d 2 h`. */
export function showTime(duration: Milliseconds): string {
  const seconds = Math.max(0, Math.floor(duration / 1000))
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return `${hours} h${minutes % 60 === 0 ? '' : ` ${minutes % 60} min`}`
  const days = Math.floor(hours / 24)
  return `${days} d${hours % 24 === 0 ? '' : ` ${hours % 24} h`}`
}
