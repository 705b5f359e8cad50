import cliProgress from 'cli-progress'
import { fit } from './columns.js'
import { showTime } from './status-text.js'
import { drawing } from './tell.js'
import { showSize } from './units.js'
import type { Bytes, Milliseconds } from '../lib/space/space.js'

/** What is shown of something that takes its time. */
export interface Bar {
  /** @param from who gives it, if that is known. */
  update(done: Bytes, total: Bytes, from?: string): void
  stop(): void
}

export interface Bars {
  start(name: string): Bar
  /** A line that stays, above the bars. */
  say(line: string): void
  close(): void
}

const WIDTH = 80
/** A rate is that of about so long. */
const RATE_WINDOW: Milliseconds = 3_000
const LONGEST_BAR = 16

/** Bars on a terminal (standard error), and nothing elsewhere: who is no terminal gets the lines that are said. */
export function progressBars(): Bars {
  const { stderr } = process
  const bars = stderr.isTTY
    ? new cliProgress.MultiBar(
        {
          stream: stderr,
          clearOnComplete: true,
          hideCursor: true,
          fps: 5,
          linewrap: null,
          format: (_options, params, payload: Payload) => barLine(payload, params.value, params.total, columns()),
          autopadding: false,
        },
        { ...cliProgress.Presets.legacy },
      )
    : undefined
  const done = bars === undefined ? (): void => undefined : drawing((lines) => bars.log(lines))
  return {
    start: (name) => {
      const rate = new Rate()
      const bar = bars?.create(0, 0, { name, rate: 0, from: '' } satisfies Payload)
      return {
        update: (done, total, from = '') => {
          const now = performance.now()
          rate.add(done, now)
          bar?.setTotal(total)
          bar?.update(done, { name, rate: rate.perSecond(now), from } satisfies Payload)
        },
        stop: () => {
          if (bar === undefined) return
          bar.stop()
          bars?.remove(bar)
        },
      }
    },
    say: (line) => {
      // Only what goes to the same terminal would be in the way of the bars.
      if (bars === undefined || !process.stdout.isTTY) process.stdout.write(`${line}\n`)
      else bars.log(`${line}\n`)
    },
    close: () => {
      done()
      // What was said last waits to be drawn with the next bar.
      bars?.update()
      bars?.stop()
    },
  }
}

interface Payload {
  readonly name: string
  readonly rate: number
  readonly from: string
}

function columns(): number {
  return Math.max(40, (process.stderr.columns ?? WIDTH) - 1)
}

/** `name ######.... 61 % 12.3 MiB/s 34 s shelf (directory)` in `width` columns. */
export function barLine({ name, rate, from }: Payload, done: Bytes, total: Bytes, width: number): string {
  const share = total === 0 ? 0 : Math.min(1, done / total)
  const full = Math.floor(share * LONGEST_BAR)
  const bar = `${'#'.repeat(full)}${'.'.repeat(LONGEST_BAR - full)} ${String(Math.floor(share * 100)).padStart(3)} %`
  const speed = `${showSize(rate)}/s`.padStart(11)
  const eta = (rate <= 0 || total === 0 ? '-' : showTime(((total - done) * 1000) / rate)).padStart(9)
  const rest = width - bar.length - speed.length - eta.length - 4
  const source = fit(from, Math.max(0, Math.floor(rest / 3)))
  return `${fit(name, Math.max(4, rest - source.length), { middle: true })} ${bar} ${speed} ${eta} ${source}`.slice(
    0,
    width,
  )
}

/** Bytes per second, from what was done when. */
class Rate {
  #samples: { readonly at: Milliseconds; readonly done: Bytes }[] = []

  add(done: Bytes, at: Milliseconds): void {
    this.#samples = [...this.#samples.filter((one) => at - one.at < RATE_WINDOW), { at, done }].slice(-50)
  }

  perSecond(now: Milliseconds): number {
    const [first] = this.#samples
    const last = this.#samples.at(-1)
    if (first === undefined || last === undefined || now - first.at < 200) return 0
    return Math.max(0, ((last.done - first.done) * 1000) / (now - first.at))
  }
}
