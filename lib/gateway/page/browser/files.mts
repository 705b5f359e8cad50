import type { FileStatus, PieceMap, PieceState, Snapshot, WaitingRead } from '../../../status/snapshot.js'
import { CERTAINTY, STATES, cellWords, sentence, sharesOf, type Cell } from './cells.mjs'
import { attribute, byId, byName, element, list, say, type View } from './dom.mjs'
import { drawMap, drawSample, type MapView } from './map.mjs'
import { forgetPainter, onTheme, swatch } from './texture.mjs'
import { ago, count, duration, percent, size, visible } from './words.mjs'

/** A closed file stays for this many milliseconds: what flickers cannot be read, and pushes the others about. */
const LINGER = 10_000
/** Lines of a map that is written out. */
const LINES = 40

interface Shown {
  readonly file: FileStatus
  readonly wait: WaitingRead | undefined
  readonly now: number
  /** When it was closed, if it was. */
  readonly closed: number | undefined
}

/** The list of open files, each with its map. */
export function filesSection(): (snapshot: Snapshot) => void {
  const seen = new Map<string, { file: FileStatus; last: number }>()
  const render = list<Shown>(byId('files'), ({ file }) => file.id, makeCard)
  const empty = byId('files-empty')
  drawLegend()
  return (snapshot) => {
    const { now } = snapshot
    for (const file of snapshot.files) seen.set(file.id, { file, last: now })
    for (const [id, { last }] of seen) if (now - last > LINGER || last > now) seen.delete(id)
    const shown = [...seen.values()].map(({ file, last }) => ({
      file,
      wait: snapshot.waiting.find((wait) => wait.path === file.path),
      now,
      closed: last < now ? last : undefined,
    }))
    render(byName(shown, ({ file }) => `${file.path}\0${file.id}`))
    empty.hidden = shown.length > 0
    const place = snapshot.mountpoint === undefined ? 'the files of this gateway' : visible(snapshot.mountpoint)
    say(empty, `Nothing is being read. Open a file in ${place}, and see here where its bytes come from.`)
  }
}

function drawLegend(): void {
  const states: readonly (readonly [PieceState | 'reader', string])[] = [
    ...(Object.entries(STATES) as [PieceState, string][]),
    ['reader', 'a reader is here'],
  ]
  for (const [state, words] of states) {
    const sample = element('canvas', { 'aria-hidden': 'true' })
    onTheme(sample, () => drawSample(sample, state))
    byId('legend').append(element('li', {}, sample, ` ${words}`))
  }
}

function makeCard({ file }: Shown): View<Shown> {
  const cut = file.path.lastIndexOf('/') + 1
  const name = element('h3', {}, element('bdi', {}, visible(file.path.slice(cut))))
  const folder = element('p', { class: 'folder' }, element('bdi', {}, visible(file.path.slice(0, cut))))
  const facts = element('p', { class: 'facts' })
  const summary = element('p', { class: 'summary' })
  const canvas = element('canvas', { class: 'map', role: 'img', 'aria-label': 'Piece map', height: '20' })
  const frame = element('div', { class: 'frame' }, canvas)
  const origins = element('ul', { class: 'origins' })
  const waiting = element('p', { class: 'waiting' })
  const rows = element('ul', { class: 'written' })
  const details = element('details', {}, element('summary', {}, 'Pieces in words'), rows)
  const node = element('li', { class: 'card file' }, name, folder, facts, summary, frame, origins, waiting, details)

  let current = file
  let map: PieceMap | undefined
  let view: MapView | undefined
  let visibleNow = false
  let stamp = ''
  let asking = false
  let open = true
  let pointed: string | undefined
  const renderLines = list<string>(
    rows,
    (line) => line,
    (line) => ({ node: element('li', {}, line), update: () => undefined }),
  )
  const renderOrigins = list<{ name: string; share: number | undefined }>(
    origins,
    ({ name }) => name,
    ({ name }) => {
      const part = element('span', { class: 'kind' })
      const words = name === '' ? 'not known any more' : visible(name)
      const node = element('li', {}, swatch(name === '' ? undefined : name), element('bdi', {}, words), part)
      return { node, update: ({ share }) => say(part, share === undefined ? '' : percent(share, 1)) }
    },
  )
  /** Who can give the file, and who gave what is here. */
  const showOrigins = (): void => {
    const shares: ReadonlyMap<string, number> = map === undefined ? new Map() : sharesOf(map)
    const names = [...new Set([...current.origins, ...shares.keys()])]
    renderOrigins(
      byName(
        names.map((name) => ({ name, share: shares.get(name) })),
        ({ name }) => name,
      ),
    )
  }

  const paint = (): void => {
    say(summary, pointed ?? sentence(current, map))
    if (map === undefined || frame.clientWidth === 0) return
    const { pieceLength } = map
    const places = current.positions.map((offset) => Math.floor(offset / pieceLength))
    view = drawMap(canvas, map, frame.clientWidth, places)
    attribute(canvas, 'aria-label', `Piece map: ${sentence(current, map)}`)
    showOrigins()
    if (details.open) renderLines(lines(map))
  }
  /** Asks for the map when what it shows may have changed, and only while it can be seen. */
  const refresh = async (): Promise<void> => {
    const wanted = `${current.cached} ${current.lastRead} ${current.positions.join()}`
    if (asking || !open || !visibleNow || (wanted === stamp && !moving(map))) return
    asking = true
    try {
      const answer = await fetch(`pieces?id=${encodeURIComponent(current.id)}`)
      if (!answer.ok) return
      map = ((await answer.json()) as PieceMap | null) ?? undefined
      stamp = wanted
      paint()
    } catch {
      // The server has gone: the banner says so, and the map is asked for again with the next news.
    } finally {
      asking = false
    }
  }

  const watcher = new IntersectionObserver(
    (entries) => {
      visibleNow = entries.at(-1)?.isIntersecting === true
      void refresh()
    },
    { rootMargin: '300px' },
  )
  watcher.observe(node)
  const resized = new ResizeObserver(paint)
  resized.observe(frame)
  onTheme(canvas, paint)
  details.addEventListener('toggle', paint)
  const point = (cell: Cell | undefined): void => {
    pointed = cell === undefined || map === undefined ? undefined : visible(cellWords(cell, map))
    say(summary, pointed ?? sentence(current, map))
  }
  canvas.addEventListener('pointermove', (event) => point(view?.at(event.offsetX, event.offsetY)))
  canvas.addEventListener('pointerleave', () => point(undefined))

  return {
    node,
    update({ file: next, wait, now, closed }) {
      current = next
      open = closed === undefined
      const state =
        closed === undefined
          ? `${count(next.readers, 'reader')}, last read ${ago(now - next.lastRead)}`
          : `closed ${ago(now - closed)}`
      say(facts, `${size(next.size)} · ${state} · ${CERTAINTY[next.verified]}`)
      node.classList.toggle('closed', closed !== undefined)
      say(summary, pointed ?? sentence(next, map))
      showOrigins()
      // Every read waits for a moment: below a second that is no news.
      const long = wait !== undefined && now - wait.since >= 1000
      say(waiting, !long ? '' : `Waiting for ${duration(now - wait.since)}: ${visible(wait.what)}`)
      void refresh()
    },
    close() {
      watcher.disconnect()
      resized.disconnect()
      forgetPainter(node)
    },
  }
}

function moving(map: PieceMap | undefined): boolean {
  return map?.runs.some(([state]) => state === 'fetching' || state === 'wanted') === true
}

/** The map as lines of words, one for each run. */
function lines(map: PieceMap): string[] {
  const made: string[] = []
  let from = 0
  for (const [state, cells, origin] of map.runs.slice(0, LINES)) {
    const to = Math.min(map.count, from + cells * map.cell)
    made.push(visible(cellWords({ from, to, state, origin, fill: 1 }, map)))
    from = to
  }
  if (from < map.count) made.push(`… and ${count(map.count - from, 'piece')} more`)
  return made
}
