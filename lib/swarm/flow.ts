import type { Bytes, Milliseconds } from '../space/space.js'
import { Least } from './least.js'

/*
 * How much may be under way from one peer. All that is under way when a reader seeks elsewhere comes before what it wants now
 * (cancelling calls nothing back from buffers), so a slow peer is asked for no more than keeps its line just busy: what its
 * bandwidth gives in its shortest delay, and some *slack*, as congestion control by a model of the line does it (BBR). The
 * bandwidth is the best rate seen lately, so that a bad moment does not lower it. A queue takes from the slack alone, and what
 * comes too slowly gives it back: blocks are late also where a machine is busy, and then more must be under way. A peer so
 * fast that nobody would notice gets a *window* instead, which is generous.
 */

/** Blocks under way to a peer that gave nothing yet: enough to fill a local line, little to lose on a slow one. */
const FIRST_WINDOW = 32
/** To a peer whose speed is known, however slow. */
const LEAST_WINDOW = 4
/** BEP 10 `reqq`: what a peer takes that does not say. */
const USUAL_QUEUE = 250
const MOST_UNDER_WAY = 500
/** A window holds what the peer gives in this long and twice its delay. */
const WINDOW: Milliseconds = 120
/** Until it has given so many blocks, its window grows by one with each, as TCP begins. */
const SLOW_START_BLOCKS = 4096

/** When a piece and the delay take longer together, a seek feels what else is under way. */
const NOTICED: Milliseconds = 50
/** Less than that by so much, and it is not felt: not to change sides all the time. */
const NOT_NOTICED: Milliseconds = 45
/** In the beginning blocks that come so late have queued up behind others. */
const LATE: Milliseconds = 20

const MEMORY: Milliseconds = 10_000
/** Longer, for two peers behind one line see the shortest delay seldom: each has a queue of the other. */
const DELAY_MEMORY: Milliseconds = 60_000
/** Shorter measurements are mostly noise: blocks are long and come in clumps. */
const LEAST_LOOK: Milliseconds = 300
const LEAST_LOOK_BLOCKS = 8
/** Some peers limit what they send by filling a bucket twice a second: then nothing can be said of less than a few fillings. */
const GAPS_A_LOOK = 3
const LONGEST_LOOK: Milliseconds = 1_500
/** Of the gaps, what counts towards the slack: peers behind one line make gaps for each other, and would ask for ever more. */
const MOST_GAPS: Milliseconds = 300
const GAP_FADES = 0.8
/** What comes so soon after another was held up together with it, which says nothing of the line. */
const CLUMP: Milliseconds = 3

/** Of the bandwidth: what is less is too little, within the precision of looks. */
const ENOUGH = 0.9
/** Of what may be under way: with less for long, the peer was not asked for all that it could give. */
const FULL = 0.75
/** A queue shorter than this is not told from chance. */
const LEAST_QUEUE: Milliseconds = 3
const QUEUE_PER_DELAY = 1 / 8
/** Of the shortest delay; and a block: with that the peer has the next request before it has sent the last block. */
const LEAST_SLACK = 1 / 16
const LESS_SLACK = 0.6
/** After so many looks in which all the slack did not help, the line itself is slower. */
const HELPLESS_LOOKS = 3
/** As often it is seen whether blocks that are late without a queue of ours would come faster if more were under way. */
const DOUBT: Milliseconds = 4_000
/** As often less than a full line is asked for during a moment: else a small queue that stays is taken for the delay. */
const DRAIN_EVERY: Milliseconds = 3_000
const DRAIN = 0.75

/** What has come since the look began. */
interface Look {
  since: Milliseconds
  bytes: Bytes
  blocks: number
  least: Milliseconds
  /** For how long less was under way than might have been. */
  spare: Milliseconds
}

/** What one peer may be asked for. Times are of a monotonic clock and never go back. */
export class Flow {
  readonly #pieceLength: Bytes
  readonly #block: Bytes
  readonly #least = new Least(DELAY_MEMORY)
  /** Bytes per millisecond; negative, so that the least is the most. */
  #rates = new Least(MEMORY)
  #look: Look | undefined
  #given = 0
  #lastDelay: Milliseconds = 0
  /** What it owed, and since when. */
  #owed = 0
  #owedSince: Milliseconds = 0
  /** The longest time lately in which nothing came although something was asked for. */
  #gap: Milliseconds = 0
  #lastCame: Milliseconds | undefined
  /** Blocks under way beyond what fills the line; undefined: by window. */
  #slack: number | undefined
  #helpless = 0
  #doubted: Milliseconds = 0
  #drained: Milliseconds = 0
  /** Looks begin after that: until then comes what was asked for in other circumstances. */
  #settles: Milliseconds = -Infinity

  constructor(pieceLength: Bytes, block: Bytes) {
    this.#pieceLength = pieceLength
    this.#block = block
  }

  /** Bytes per second that its line is taken to give; undefined when it is asked for as much as a window holds. */
  get pace(): number | undefined {
    return this.#slack === undefined ? undefined : this.#bandwidth * 1000
  }

  /**
   * How many more blocks it may be asked for now.
   * @param peer its speed in bytes per second, how many blocks it owes, and its `reqq`.
   * @param hurry somebody waits for this and nothing else: what is asked for in advance comes later by as much.
   */
  room(peer: { speed: number; owes: number; queue: number | undefined }, now: Milliseconds, hurry = false): number {
    const { speed, owes, queue } = peer
    const most = Math.min(MOST_UNDER_WAY, queue !== undefined && queue > 0 ? queue : USUAL_QUEUE)
    if (this.#slack === undefined) return Math.min(most, this.#window(speed / 1000)) - owes
    const may = hurry ? this.#filling() + this.#mostSlack() : this.#may(now)
    return Math.min(most, Math.round(may)) - owes
  }

  /** A block is asked for; it owed `owes` before. */
  asked(owes: number, now: Milliseconds): void {
    // In a pause nothing could come.
    if (owes === 0 && now !== this.#lastCame) this.#lastCame = undefined
    // What was called back may come all the same, unseen; and what is more than it may owe queues up by our own making.
    if (owes < this.#owed || (this.#slack !== undefined && owes > this.#may(now) + 1)) this.#settle(now)
    this.#owes(owes + 1, now)
  }

  /** It will not give a block that it was asked for. */
  refused(now: Milliseconds): void {
    this.#owes(Math.max(0, this.#owed - 1), now)
  }

  /** A block has come, `delay` after it was asked for; it owes `owes` more. */
  came(bytes: Bytes, delay: Milliseconds, owes: number, now: Milliseconds): void {
    this.#given += 1
    this.#lastDelay = delay
    this.#least.add(delay, now)
    if (this.#lastCame !== undefined) this.#gap = Math.min(LONGEST_LOOK, Math.max(this.#gap, now - this.#lastCame))
    this.#lastCame = now
    this.#owes(owes, now)
    const look = this.#look
    if (look !== undefined && now - look.since > (look.blocks === 0 ? CLUMP : 0)) {
      look.bytes += bytes
      look.blocks += 1
      look.least = Math.min(look.least, delay)
      if (look.blocks >= LEAST_LOOK_BLOCKS && now - look.since >= this.#lookFor()) {
        this.#judge(look, now)
        this.#look = undefined
      }
    }
    if (now >= this.#settles) this.#look ??= { since: now, bytes: 0, blocks: 0, least: Infinity, spare: 0 }
  }

  #owes(owes: number, now: Milliseconds): void {
    const may = this.#slack === undefined ? LEAST_WINDOW : this.#may(now)
    if (this.#look !== undefined && this.#owed < may * FULL) this.#look.spare += now - this.#owedSince
    this.#owed = owes
    this.#owedSince = now
  }

  #settle(now: Milliseconds): void {
    this.#look = undefined
    this.#lastCame = undefined
    const comes = this.#slack === undefined ? 0 : (this.#owed * this.#block) / this.#bandwidth
    this.#settles = now + (this.#least.last ?? 0) + comes
  }

  #judge(look: Look, now: Milliseconds): void {
    const passed = now - look.since
    const rate = look.bytes / passed
    const spare = look.spare > passed * (1 - ENOUGH)
    // Who was not asked for all says nothing of how slow its line is.
    if (!spare || rate > this.#bandwidth) this.#rates.add(-rate, now)
    this.#gap *= GAP_FADES
    const least = this.#least.last ?? 0
    const felt = this.#pieceLength / this.#bandwidth + least
    if (this.#slack === undefined) {
      if (felt >= NOTICED && this.#lastDelay - least >= LATE) this.#slack = this.#leastSlack()
      return
    }
    if (felt < NOT_NOTICED) this.#slack = undefined
    else if (!spare) this.#slack = this.#adapted(this.#slack, rate, look.least - least, now)
  }

  /** The slack after a look in which blocks came at this rate, and the first of them by so much later than ever. */
  #adapted(slack: number, rate: number, late: Milliseconds, now: Milliseconds): number {
    const most = this.#mostSlack()
    const fewest = this.#leastSlack()
    const chance = Math.max(LEAST_QUEUE, (this.#least.last ?? 0) * QUEUE_PER_DELAY)
    if (rate < this.#bandwidth * ENOUGH) {
      this.#helpless = slack >= most * ENOUGH ? this.#helpless + 1 : 0
      if (this.#helpless < HELPLESS_LOOKS) return Math.min(most, 1.5 * slack + 1)
      this.#rates = new Least(MEMORY)
      this.#rates.add(-rate, now)
    }
    this.#helpless = 0
    if (late <= chance) return Math.min(most, slack + 0.5)
    if (slack > fewest) return Math.max(fewest, slack * LESS_SLACK)
    if (late < chance + (2 * this.#block) / this.#bandwidth || now - this.#doubted < DOUBT) return fewest
    this.#doubted = now
    return Math.min(most, 2 * fewest + this.#filling())
  }

  get #bandwidth(): number {
    return -(this.#rates.last ?? 0)
  }

  #window(speed: number): number {
    const least = this.#least.last
    if (least === undefined) return FIRST_WINDOW
    const lasts = WINDOW + 2 * least + Math.min(MOST_GAPS, 2 * this.#gap)
    const bySpeed = Math.max(LEAST_WINDOW, Math.ceil((Math.max(speed, this.#bandwidth) * lasts) / this.#block))
    const growing = this.#given < SLOW_START_BLOCKS && this.#lastDelay < lasts
    return growing ? Math.max(bySpeed, FIRST_WINDOW + this.#given) : bySpeed
  }

  #lookFor(): Milliseconds {
    const least = this.#least.last ?? 0
    return Math.max(LEAST_LOOK, 2 * least, Math.min(LONGEST_LOOK, GAPS_A_LOOK * this.#gap))
  }

  /** Blocks that may be under way to a peer that has slack. */
  #may(now: Milliseconds): number {
    const filling = this.#filling()
    if (now - this.#drained < DRAIN_EVERY) return Math.max(LEAST_WINDOW, filling + (this.#slack ?? 0))
    const drained = Math.max(1, Math.floor(filling * DRAIN))
    if (this.#owed <= drained) this.#drained = now
    return drained
  }

  /** Blocks that fill the line. */
  #filling(): number {
    return (this.#bandwidth * (this.#least.last ?? 0)) / this.#block
  }

  #leastSlack(): number {
    return 1 + this.#filling() * LEAST_SLACK
  }

  #mostSlack(): number {
    const lasts = WINDOW + (this.#least.last ?? 0) + Math.min(MOST_GAPS, 2 * this.#gap)
    return Math.max(LEAST_WINDOW, (this.#bandwidth * lasts) / this.#block)
  }
}
