import { seconds } from '../log/amounts.js'
import { silentLog, type Log } from '../log/log.js'
import { inOneLine, pieceNumbers, type PieceSaid } from '../scheduler/explain.js'
import { NOTICED_AFTER } from '../scheduler/fetcher.js'
import type { ByteRange, Milliseconds, SpaceId } from '../space/space.js'
import type { WatchedFile } from './activity-file.js'
import { whatItWaitsFor } from './wait-reason.js'

/** A read that waits for bytes. */
export interface Waiting {
  readonly file: WatchedFile
  readonly range: ByteRange
  /** Since 1970, for people. */
  readonly since: Milliseconds
}

export interface WaitsOptions {
  readonly log: Log
  /** Log of each read that waited noticeably what it waited for, once it has its bytes. */
  readonly explain: boolean
}

/** A read that waits longer says so in the log. */
const SLOW_AFTER: Milliseconds = 2_000
/** When everything is slow, one line a second tells enough. */
const SLOW_LOGGED_EVERY: Milliseconds = 1_000
/** Reads of a stream that ended within one look are one line. */
const LOOK_EVERY: Milliseconds = 100

interface Watched {
  readonly waiting: Waiting
  readonly began: Milliseconds
  /** The log was told that it waits. */
  told: boolean
  /** What was said of the pieces that came for it. */
  readonly came: PieceSaid[]
  /** What it waited for when that was last looked at. */
  reason: string | undefined
  waited: Milliseconds
  /** Had ended at the last look, and was held back for the read that follows it. */
  held: boolean
}

/**
 * The reads that wait, and what the log is told of them: a line for each read, or for the reads that follow each other
 * in a file (the kernel asks for a large one in parts), not one for each piece.
 */
export class Waits {
  readonly #log: Log
  readonly #explain: boolean
  readonly #waiting = new Map<Waiting, Watched>()
  #ended: Watched[] = []
  #timer: NodeJS.Timeout | undefined
  #lastTold = -Infinity

  constructor({ log, explain }: WaitsOptions = { log: silentLog, explain: false }) {
    this.#log = log
    this.#explain = explain
  }

  /** Those that wait now, the oldest first. */
  now(): IterableIterator<Waiting> {
    return this.#waiting.keys()
  }

  began(waiting: Waiting): void {
    const began = performance.now()
    this.#waiting.set(waiting, { waiting, began, told: false, came: [], reason: undefined, waited: 0, held: false })
    if (this.#timer !== undefined) return
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY)
    this.#timer.unref()
  }

  /** @param served it has got its bytes. */
  ended(waiting: Waiting, served: boolean): void {
    const watched = this.#waiting.get(waiting)
    this.#waiting.delete(waiting)
    if (!this.#explain || !served || watched === undefined) return
    watched.waited = performance.now() - watched.began
    if (watched.waited > NOTICED_AFTER) this.#ended.push(watched)
  }

  /** What a fetcher of that space is to tell of pieces that came; undefined when nobody wants to know. */
  onPiece(space: SpaceId): ((came: PieceSaid) => void) | undefined {
    if (!this.#explain) return undefined
    return (came) => {
      for (const watched of this.#waiting.values()) {
        const slice = watched.waiting.file.view()?.slice
        if (slice?.space.id !== space) continue
        const { start, end } = watched.waiting.range
        const { pieceLength } = slice.space
        const first = Math.floor((slice.offset + start) / pieceLength)
        if (came.piece >= first && came.piece * pieceLength < slice.offset + end) watched.came.push(came)
      }
    }
  }

  close(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#tellEnded([])
  }

  #look(): void {
    const now = performance.now()
    this.#tellEnded([...this.#waiting.values()])
    if (this.#waiting.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    let slow: Watched | undefined
    for (const watched of this.#waiting.values()) {
      const waited = now - watched.began
      if (this.#explain && waited > NOTICED_AFTER) watched.reason = reasonOf([watched])
      if (!watched.told && waited > SLOW_AFTER) slow ??= watched
    }
    if (slow === undefined || now - this.#lastTold < SLOW_LOGGED_EVERY) return
    this.#lastTold = now
    const { contentId } = slow.waiting.file
    const same = [...this.#waiting.values()].filter((one) => one.waiting.file.contentId === contentId)
    const group = groups(same).find((one) => one.includes(slow)) ?? [slow]
    for (const one of group) one.told = true
    this.#tell(group, 'waits for', now - slow.began, reasonOf(group))
  }

  /** @param waiting reads that still wait: those that they follow are told of with them, or at the next look. */
  #tellEnded(waiting: readonly Watched[]): void {
    const ended = new Set(this.#ended)
    if (ended.size === 0) return
    this.#ended = []
    for (const members of groups([...ended, ...waiting])) {
      const group = members.filter((one) => ended.has(one))
      if (group.length < members.length && group.some((one) => !one.held)) {
        for (const one of group) one.held = true
        this.#ended.push(...group)
        continue
      }
      if (group.length === 0) continue
      const waited = Math.max(...group.map((one) => one.waited))
      const pieces = distinct(group.flatMap((one) => one.came))
      const said = pieces.length > 0 ? lineOf(pieces) : (group[0]?.reason ?? 'its content to be opened or checked')
      this.#tell(group, 'waited for', waited, said)
    }
  }

  #tell(group: readonly Watched[], what: string, waited: Milliseconds, said: string): void {
    const [first] = group
    if (first === undefined) return
    const paths = [...new Set(group.map(({ waiting }) => waiting.file.path))].join(' and ')
    const name = first.waiting.file.contentId.replace(/^key:/, '')
    const { start, end } = spanOf(group)
    this.#log.info(`reading ${paths} (${name}) bytes ${offset(start)}-${offset(end)} ${what} ${said}`, {
      waited: seconds(waited),
    })
  }
}

/** `pieces 3 and 4: …` */
function lineOf(pieces: readonly PieceSaid[]): string {
  return `${pieceNumbers(pieces.map((one) => one.piece))}: ${inOneLine(pieces)}`
}

function reasonOf(group: readonly Watched[]): string {
  const [first] = group
  return first === undefined ? '' : whatItWaitsFor(first.waiting.file, spanOf(group))
}

function spanOf(group: readonly Watched[]): ByteRange {
  return {
    start: Math.min(...group.map((one) => one.waiting.range.start)),
    end: Math.max(...group.map((one) => one.waiting.range.end)),
  }
}

/** Reads of the same content that touch each other. */
function groups(reads: readonly Watched[]): Watched[][] {
  const made: { readonly members: Watched[]; readonly content: string; end: number }[] = []
  const content = (one: Watched): string => one.waiting.file.contentId
  const ordered = [...reads].sort(
    (a, b) =>
      (content(a) < content(b) ? -1 : content(a) > content(b) ? 1 : 0) || a.waiting.range.start - b.waiting.range.start,
  )
  for (const one of ordered) {
    const { start, end } = one.waiting.range
    const last = made.at(-1)
    if (last === undefined || last.content !== content(one) || start > last.end) {
      made.push({ members: [one], content: content(one), end })
      continue
    }
    last.members.push(one)
    last.end = Math.max(last.end, end)
  }
  return made.map(({ members }) => members)
}

/** Reads that overlap were told of the same piece. */
function distinct(pieces: readonly PieceSaid[]): PieceSaid[] {
  return [...new Map(pieces.map((one) => [one.piece, one])).values()].sort((a, b) => a.piece - b.piece)
}

const UNITS: readonly [string, number][] = [
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
]

/** In the largest unit that says it exactly. */
function offset(bytes: number): string {
  const [name, size] = UNITS.find(([, one]) => bytes > 0 && bytes % one === 0) ?? ['', 1]
  return `${bytes / size}${name}`
}
