import { SingleBar } from 'cli-progress'
import type { Bytes, Milliseconds } from '../lib/space/space.js'
import { drawing } from './tell.js'
import { showSize } from './units.js'

export interface Progress {
  /** How much there is in all, and of that already. */
  start(total: Bytes, done: Bytes): void
  add(bytes: Bytes): void
  /** A word or two at the end of the line: peers, say. */
  note(text: string): void
  /** Takes the bar away; may be called twice. */
  end(): void
}

/** The rate is that of so long: shorter jumps about, longer does not notice a change. */
const RATE_OVER: Milliseconds = 10_000
const SAMPLE_EVERY: Milliseconds = 250
/** Without a terminal a line so often, so that a log shows that it is alive. */
const LINE_EVERY: Milliseconds = 60_000
const WIDEST_BAR = 30

/** A bar on a terminal (on standard error); elsewhere a line a minute by `say`. */
export function openProgress(verb: string, say: (line: string) => void): Progress {
  const terminal = process.stderr.isTTY
  const samples: { at: Milliseconds; bytes: Bytes }[] = []
  let total = 0
  let done = 0
  let note = ''
  const facts = (): { rate: number; left: string } => {
    const first = samples[0]
    const now = performance.now()
    const rate = first === undefined || now <= first.at ? 0 : ((done - first.bytes) / (now - first.at)) * 1000
    return { rate, left: rate > 0 ? showDuration((total - done) / rate) : '-:--' }
  }
  const text = (): string => {
    const { rate, left } = facts()
    return `${showSize(done)} of ${showSize(total)}  ${showSize(rate)}/s  ${left}${note === '' ? '' : `  ${note}`}`
  }
  const percent = (): string => `${total === 0 ? 100 : Math.floor((done / total) * 100)}%`
  const bar = new SingleBar({
    stream: process.stderr,
    fps: 5,
    clearOnComplete: true,
    hideCursor: true,
    // What is shown must fit the line, or the terminal scrolls with every update.
    format: () => {
      const columns = (process.stderr.columns || 80) - 1
      const tail = `${percent().padStart(5)}  ${text()}`
      const width = Math.min(WIDEST_BAR, columns - verb.length - tail.length - 3)
      const filled = Math.round((total === 0 ? 1 : done / total) * width)
      const drawn = width < 5 ? '' : `[${'#'.repeat(filled)}${'-'.repeat(width - filled)}]`
      return `${verb} ${drawn}${tail}`.slice(0, columns)
    },
  })
  let timers: NodeJS.Timeout[] = []
  let undraw = (): void => undefined
  return {
    start: (all, already) => {
      total = all
      done = already
      samples.push({ at: performance.now(), bytes: done })
      const sample = setInterval(() => {
        samples.push({ at: performance.now(), bytes: done })
        if (samples.length > RATE_OVER / SAMPLE_EVERY) samples.shift()
      }, SAMPLE_EVERY)
      timers = [sample]
      if (terminal) {
        bar.start(total, done)
        // It is drawn again, below.
        undraw = drawing((lines) => process.stderr.write(`\r\x1b[K${lines}`))
      } else timers.push(setInterval(() => say(`${verb}: ${percent()}, ${text()}`), LINE_EVERY))
      for (const timer of timers) timer.unref()
    },
    add: (bytes) => {
      // What turned out to be something else is fetched a second time.
      done = Math.min(total, done + bytes)
      if (terminal) bar.update(done)
    },
    note: (shown) => {
      note = shown
    },
    end: () => {
      for (const timer of timers) clearInterval(timer)
      if (terminal && timers.length > 0) bar.stop()
      timers = []
      undraw()
    },
  }
}

/** `4:09`, `1:02:03`. */
export function showDuration(seconds: number): string {
  const whole = Math.min(Math.ceil(seconds), 359_999)
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const shown = parts[0] === 0 ? parts.slice(1) : parts
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, '0'))).join(':')
}
