import type { Snapshot, WaitingRead } from '../../../status/snapshot.js'
import { attribute, byId, element, list, say, type View } from './dom.mjs'
import { ago, count, duration, percent, rate, size, visible } from './words.mjs'

type SnapshotError = Snapshot['errors'][number]

/** The figures at the top. */
export function figures(snapshot: Snapshot): void {
  const fetching = snapshot.origins.reduce((sum, origin) => sum + origin.rate, 0)
  const { cache } = snapshot
  say(byId('figure-fetching'), rate(fetching))
  say(byId('figure-fetched'), `${size(snapshot.fetchedBytes)} fetched, ${size(snapshot.readBytes)} read`)
  say(byId('figure-cache'), size(cache.used))
  say(byId('figure-cache-of'), `${percent(cache.used, cache.limit)} of ${size(cache.limit)}`)
  say(byId('figure-waiting'), String(snapshot.waiting.length))
  const oldest = snapshot.waiting[0]
  say(
    byId('figure-waiting-for'),
    oldest === undefined ? 'no read waits' : `for up to ${duration(snapshot.now - oldest.since)}`,
  )
  say(byId('figure-errors'), String(snapshot.errors.length))
  byId('figure-waiting')
    .closest('a')
    ?.classList.toggle('warn', oldest !== undefined && snapshot.now - oldest.since > 3_000)
  const newest = snapshot.errors[0]
  say(byId('figure-errors-last'), newest === undefined ? 'none so far' : `last ${ago(snapshot.now - newest.time)}`)
  byId('figure-errors')
    .closest('a')
    ?.classList.toggle('bad', newest !== undefined)
  const what = snapshot.mountpoint ?? snapshot.gateway ?? ''
  say(byId('where'), visible(what))
  say(
    byId('about'),
    `annexfs ${snapshot.version}, process ${snapshot.pid}, up ${duration(snapshot.now - snapshot.started)}`,
  )
}

export function cacheSection({ cache, budget }: Snapshot): void {
  bar('cache-bar', [cache.pinned, cache.used - cache.pinned], cache.limit)
  say(
    byId('cache-words'),
    `${size(cache.used)} of ${size(cache.limit)} used${cache.pinned > 0 ? `, ${size(cache.pinned)} of it pinned` : ''}.`,
  )
  say(
    byId('cache-evictions'),
    cache.evictions === 0
      ? 'Nothing had to make room yet.'
      : `${count(cache.evictions, 'eviction')} made room for ${size(cache.evictedBytes)}.`,
  )
  const low = cache.lowDisk
  byId('cache-low').hidden = low === undefined
  if (low !== undefined) {
    say(
      byId('cache-low'),
      `Nothing can be cached: ${size(low.free)} free there, and --min-free is ${size(low.minFree)}.`,
    )
  }
  say(byId('cache-folder'), visible(cache.folder))
  byId('budget').hidden = budget === undefined
  if (budget === undefined) return
  bar('budget-bar', [0, budget.limit - budget.left], budget.limit)
  const per = budget.per === undefined ? '' : ` per ${budget.per === 3_600_000 ? 'hour' : duration(budget.per)}`
  say(
    byId('budget-words'),
    budget.left > 0
      ? `${size(budget.left)} left of ${size(budget.limit)}${per}.`
      : `All of ${size(budget.limit)}${per} is used up: only what is cached can be read.`,
  )
}

/** Parts of a bar, which is only seen: the words beside it say the same. */
function bar(id: string, parts: readonly number[], whole: number): void {
  parts.forEach((part, index) => {
    const piece = byId(id).children[index]
    if (piece instanceof HTMLElement)
      piece.style.width = `${Math.min(100, (100 * Math.max(0, part)) / Math.max(1, whole))}%`
  })
}

/** Reads that follow each other in a file: the kernel asks for a large one in parts. */
interface Wait {
  readonly path: string
  readonly start: number
  end: number
  reads: number
  /** Of the one that waits longest. */
  since: number
  what: string
}

function together(waiting: readonly WaitingRead[]): Wait[] {
  const waits: Wait[] = []
  const ordered = [...waiting].sort((a, b) =>
    a.path === b.path ? a.range.start - b.range.start : a.path < b.path ? -1 : 1,
  )
  for (const { path, range, since, what } of ordered) {
    const last = waits.at(-1)
    if (last === undefined || last.path !== path || range.start > last.end) {
      waits.push({ path, start: range.start, end: range.end, reads: 1, since, what })
      continue
    }
    last.end = Math.max(last.end, range.end)
    last.reads++
    if (since < last.since) Object.assign(last, { since, what })
  }
  return waits
}

/** What each waiting read waits for. */
export function waitingSection(): (snapshot: Snapshot) => void {
  const render = list<{ wait: Wait; now: number }>(
    byId('waiting'),
    ({ wait }) => `${wait.start} ${wait.path}`,
    ({ wait }) => {
      const meta = element('p', { class: 'meta' })
      const what = element('p', {})
      const name = element('p', { class: 'name' }, element('bdi', {}, visible(wait.path)))
      return {
        node: element('li', {}, name, meta, what),
        update({ wait: { start, end, reads, since, what: next }, now }) {
          const parts = reads > 1 ? `, ${count(reads, 'read')}` : ''
          say(meta, `for ${duration(now - since)} · ${size(end - start)} at ${size(start)}${parts}`)
          say(what, visible(next))
        },
      }
    },
  )
  return ({ waiting, now }) => {
    render(together(waiting).map((wait) => ({ wait, now })))
    byId('waiting-empty').hidden = waiting.length > 0
  }
}

/** The last errors, newest first. */
export function errorsSection(): (snapshot: Snapshot) => void {
  interface Item {
    readonly error: SnapshotError
    readonly key: string
    readonly now: number
  }
  const render = list<Item>(
    byId('errors'),
    ({ key }) => key,
    ({ error }): View<Item> => {
      const time = element('time', {
        datetime: moment(error.time)?.toISOString() ?? '',
        title: moment(error.time)?.toLocaleString() ?? '',
      })
      const name = element('p', { class: 'name' }, element('bdi', {}, visible(error.path)))
      const node = element(
        'li',
        {},
        name,
        element('p', { class: 'meta' }, time),
        element('p', {}, visible(error.reason)),
      )
      return { node, update: ({ now }) => say(time, ago(now - error.time)) }
    },
  )
  return ({ errors, now }) => {
    const seen = new Map<string, number>()
    const items = errors.map((error) => {
      const key = `${error.time} ${error.path} ${error.reason}`
      const times = seen.get(key) ?? 0
      seen.set(key, times + 1)
      return { error, key: `${key} ${times}`, now }
    })
    render(items)
    byId('errors-empty').hidden = errors.length > 0
  }
}

function moment(time: number): Date | undefined {
  const date = new Date(time)
  return Number.isNaN(date.getTime()) ? undefined : date
}

/** The SOURCEs, as they were given. */
export function sourcesSection(): (snapshot: Snapshot) => void {
  const render = list<Snapshot['sources'][number]>(
    byId('sources'),
    ({ name, source }) => `${name}\0${source}`,
    (item) => {
      const meta = element('p', { class: 'meta' }, visible(item.kind))
      // A lone SOURCE is the top of the mount, and has no name of its own.
      const named = item.name !== '' && item.name !== '/'
      const name = element('p', { class: 'name' }, element('bdi', {}, visible(named ? item.name : item.source)))
      const node = element('li', {}, name, meta)
      if (named && item.source !== item.name) node.append(element('p', {}, element('bdi', {}, visible(item.source))))
      return { node, update: ({ kind }) => say(meta, visible(kind)) }
    },
  )
  return ({ sources }) => {
    const unique = new Map(sources.map((source) => [`${source.name}\0${source.source}`, source]))
    render([...unique.values()])
  }
}

/** A minute of silence between two messages about waiting: it comes and goes, and each is read aloud. */
const QUIET = 10_000

/** Tells screen readers what matters, and only that: new errors, and reads that wait for long. */
export function announcer(): (snapshot: Snapshot) => void {
  let known: number | undefined
  let waited = false
  let spoke = -QUIET
  return ({ errors, waiting, now }) => {
    const newest = errors[0]?.time ?? 0
    const fresh = known === undefined ? [] : errors.filter((error) => error.time > (known ?? 0))
    known = Math.max(known ?? 0, newest)
    const long = waiting.filter((wait) => now - wait.since > 3_000)
    const [first] = fresh
    if (first !== undefined) {
      announce(`${count(fresh.length, 'new error')}. ${visible(first.path)}: ${visible(first.reason)}`)
    } else if (performance.now() - spoke > QUIET && long.length > 0 !== waited) {
      announce(long.length > 0 ? `${count(long.length, 'read')} waiting for bytes` : 'No read waits any more')
      waited = long.length > 0
    } else return
    spoke = performance.now()
  }
}

export function announce(text: string): void {
  attribute(byId('announce'), 'data-at', String(Math.round(performance.now())))
  say(byId('announce'), text)
}
