import type { OriginStatus, PeerStatus } from '../../../status/snapshot.js'
import { attribute, byId, byName, element, list, say, type View } from './dom.mjs'
import { forgetPainter, swatch } from './texture.mjs'
import { count, duration, rate, size, visible } from './words.mjs'

/** A page of more rows than this helps nobody. */
const MOST_PEERS = 200

const KINDS: Readonly<Record<OriginStatus['kind'], string>> = {
  swarm: 'BitTorrent peers',
  remote: 'git-annex remote',
  web: 'web server',
  local: 'this computer',
}

/**
 * A row whose cells are named after their columns. The roles are spelled out because narrow windows show rows as blocks,
 * which takes the meaning of a table from them.
 */
function row(columns: readonly string[]): { readonly node: HTMLElement; readonly cells: readonly HTMLElement[] } {
  const cells = columns.map((label, index) =>
    index === 0
      ? element('th', { role: 'rowheader', scope: 'row' })
      : element('td', { role: 'cell', 'data-label': label }, ''),
  )
  return { node: element('tr', { role: 'row' }, ...cells), cells }
}

function fill(cells: readonly HTMLElement[], texts: readonly string[]): void {
  texts.forEach((text, index) => {
    const cell = cells[index + 1]
    if (cell !== undefined) say(cell, text)
  })
}

/** The mean over the last `seconds`, and the most in one second. */
function figures(history: readonly number[], seconds: number): { readonly mean: number; readonly peak: number } {
  const last = history.slice(-seconds)
  return { mean: last.reduce((sum, one) => sum + one, 0) / Math.max(1, last.length), peak: Math.max(0, ...history) }
}

function latency(time: number | undefined): string {
  if (time === undefined) return '–'
  return time < 1 ? '< 1 ms' : time < 1000 ? `${Math.round(time)} ms` : duration(time)
}

/** The infohash of a torrent is long, and its beginning tells enough. */
function torrentName({ name, torrent }: PeerStatus): string {
  const hash = /^[0-9a-f]{40}$/.test(torrent) ? `${torrent.slice(0, 10)}…` : visible(torrent)
  return name === undefined ? hash : `${visible(name)} (${hash})`
}

export function originsTable(): (origins: readonly OriginStatus[], age: number) => void {
  const columns = ['Origin', 'Now', 'Last minute', 'Peak', 'In all', 'Latency', 'Running', 'Failures']
  // In seconds; less while there was no whole minute yet.
  let minute = 60
  const render = list<OriginStatus>(
    byId('origins'),
    (origin) => origin.name,
    (origin): View<OriginStatus> => {
      const { node, cells } = row(columns)
      const trouble = element('span', { class: 'trouble' })
      cells[0]?.append(
        swatch(origin.name),
        element('bdi', {}, visible(origin.name)),
        element('span', { class: 'kind' }, KINDS[origin.kind]),
        trouble,
      )
      return {
        node,
        update(next) {
          const { mean, peak } = figures(next.history, minute)
          fill(cells, [
            rate(next.rate),
            rate(mean),
            rate(peak),
            size(next.fetched),
            latency(next.latency),
            String(next.active),
            String(next.failures),
          ])
          say(trouble, next.trouble === undefined ? '' : `⚠ ${visible(next.trouble)}`)
        },
        close: () => forgetPainter(node),
      }
    },
  )
  return (origins, age) => {
    minute = Math.min(60, Math.max(1, Math.round(age / 1000)))
    render(byName(origins, (origin) => origin.name))
    show('origins', origins.length)
  }
}

export function peersTable(): (peers: readonly PeerStatus[]) => void {
  const columns = ['Address', 'Client', 'Torrent', 'Down', 'Up', 'State', 'Kind']
  const keyOf = (peer: PeerStatus): string => `${peer.address} ${peer.torrent} ${peer.kind}`
  const render = list<PeerStatus>(byId('peers'), keyOf, (peer): View<PeerStatus> => {
    const { node, cells } = row(columns)
    cells[0]?.append(element('bdi', {}, visible(peer.address)))
    return {
      node,
      update(next) {
        fill(cells, [
          visible(next.client) || 'unknown',
          torrentName(next),
          rate(next.down),
          rate(next.up),
          next.choked ? '⊘ choked' : '✓ open',
          visible(next.kind),
        ])
        attribute(node, 'class', next.choked ? 'choked' : '')
      },
    }
  })
  return (peers) => {
    const unique = [...new Map(peers.map((peer) => [keyOf(peer), peer])).values()]
    render(byName(unique, keyOf).slice(0, MOST_PEERS))
    show('peers', unique.length)
    const more = unique.length - MOST_PEERS
    say(byId('peers-more'), more > 0 ? `… and ${count(more, 'peer')} more` : '')
  }
}

/** A table without rows gives way to what is said instead. */
function show(id: string, rows: number): void {
  const table = byId(id).closest('table')
  if (table !== null) table.hidden = rows === 0
  byId(`${id}-empty`).hidden = rows > 0
}
