import type { Bytes, Milliseconds } from '../space/space.js'
import { Least } from './least.js'

/*
 * How much may be under way from one peer. All that is under way when a reader seeks elsewhere comes before what it wants now
 * (cancelling calls nothing back from buffers), so from a slow peer no more is asked for than keeps its line just busy: blocks
 * are asked for at a *pace* a little below the rate at which they come, as congestion control by delay does it (RFC 6817). A
 * queue shows in how much longer a block takes than the shortest time that one has taken. A peer that is so fast that nobody
 * would notice gets a *window* instead, which is generous.
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
const NOT_NOTICED: Milliseconds = 35
/** Of the rate at which blocks came while a queue was seen: what leaves none. */
const BELOW_RATE = 0.96
/** And the most by which the pace is lowered at once. */
const MOST_SLOWER = 0.15
/** However long a queue is, so much of the pace is left after a look at it. */
const LEAST_LEFT = 0.7
/** Without a queue the pace is raised by so much each time, and faster when that has gone on for long. */
const RAISES: readonly { readonly after: number; readonly by: number }[] = [
  { after: 8, by: 1.25 },
  { after: 5, by: 1.05 },
  { after: 0, by: 1.02 },
]
/** The first pace may be that of a moment: until a queue is seen again it is raised fast. */
const FIRST_RAISES = 8
/** What comes so much faster than the pace shows that the pace is wrong. */
const MUCH_FASTER = 1.5
/** Shorter measurements are mostly noise: blocks are long and come in clumps. */
const LEAST_LOOK: Milliseconds = 150
const LEAST_LOOK_BLOCKS = 8
/** Some peers limit what they send by filling a bucket twice a second: then nothing can be said of less than a few fillings. */
const GAPS_A_LOOK = 3
const LONGEST_LOOK: Milliseconds = 1_500
/** The best rate in this long counts: one bad measurement does not slow a peer down. */
const RATE_MEMORY: Milliseconds = 3_000
const DELAY_MEMORY: Milliseconds = 10_000
/** A queue shorter than this is not told from chance. */
const LEAST_QUEUE: Milliseconds = 3
const QUEUE_PER_DELAY = 1 / 8
/** A queue that is as long as before, or what comes as fast as it is asked for, within the precision of looks. */
const STAYS = 0.9
const STAYS_FOR = 2
const MOST_VARIES: Milliseconds = 50
const VARIES_FADES = 0.98
const GAP_FADES = 0.8
/** In the beginning blocks that come so late have queued up behind others. */
const LATE: Milliseconds = 20
/** Delays vary: so much more may be under way than the pace and the delay make. */
const DELAY_VARIES: Milliseconds = 100

/** What has come since the look began. */
interface Look {
  readonly since: Milliseconds
  /** When the block was asked for with which it began. */
  readonly asked: Milliseconds
  bytes: Bytes
  blocks: number
  least: Milliseconds
  /** Less was asked for than could have been. */
  spare: boolean
}

/** What one peer may be asked for. Times are of a monotonic clock and never go back. */
export class Flow {
  readonly #pieceLength: Bytes
  readonly #block: Bytes
  readonly #least = new Least(DELAY_MEMORY)
  /** Negative, so that the least is the most. */
  readonly #rates = new Least(RATE_MEMORY)
  #look: Look | undefined
  /** Since when something comes, one after the other. */
  #busySince: Milliseconds | undefined
  #given = 0
  #lastDelay: Milliseconds = 0
  #lastCame: Milliseconds | undefined
  /** The longest time lately in which nothing came although something was asked for. */
  #gap: Milliseconds = 0
  /** Bytes per millisecond; undefined: by window. */
  #pace: number | undefined
  #raises = 0
  /** By how much blocks come later by chance, as far as that was seen. */
  #varies: Milliseconds = 0
  /** By how much they came later when their queue was waited for last. */
  #waitedFor: Milliseconds = Infinity
  #stays = 0
  /** What comes before this time was asked for at another pace. */
  #settles: Milliseconds = -Infinity
  /** Blocks that may be asked for at the time `#creditAt`; below zero, so much more was asked for already. */
  #credit = 0
  #creditAt: Milliseconds = 0

  constructor(pieceLength: Bytes, block: Bytes) {
    this.#pieceLength = pieceLength
    this.#block = block
  }

  /** Bytes per second that it is asked for; undefined when it is asked for as much as a window holds. */
  get pace(): number | undefined {
    return this.#pace === undefined ? undefined : this.#pace * 1000
  }

  /**
   * How many more blocks it may be asked for now.
   * @param peer its speed in bytes per second, how many blocks it owes, and its `reqq`.
   * @param hurry somebody waits for this and nothing else: what is asked for in advance comes later by as much.
   */
  room(peer: { speed: number; owes: number; queue: number | undefined }, now: Milliseconds, hurry = false): number {
    const { speed, owes, queue } = peer
    const most = Math.min(MOST_UNDER_WAY, queue !== undefined && queue > 0 ? queue : USUAL_QUEUE)
    if (this.#pace === undefined) return Math.min(most, this.#window(speed)) - owes
    const left = Math.min(most, this.#most(this.#pace)) - owes
    return hurry ? left : Math.min(left, Math.floor(this.#creditOf(this.#pace, now)))
  }

  /** How long until it may be asked for more because time passes; undefined: only when something comes. */
  wait(now: Milliseconds): Milliseconds | undefined {
    if (this.#pace === undefined) return undefined
    return (Math.max(0, 1 - this.#creditOf(this.#pace, now)) * this.#block) / this.#pace
  }

  /** A block is asked for; it owed `owes` before. */
  asked(owes: number, now: Milliseconds): void {
    if (owes === 0) {
      // What was called back has not come, which says nothing of the peer.
      this.#lastCame = undefined
      this.#busySince = undefined
      this.#look = undefined
    }
    if (this.#pace === undefined) return
    this.#credit = this.#creditOf(this.#pace, now) - 1
    // The queue that comes now is of our own making.
    if (this.#credit < -2) this.#look = undefined
  }

  /** It will not give a block that it was asked for. */
  refused(now: Milliseconds): void {
    if (this.#pace === undefined) return
    this.#credit = Math.min(this.#mostCredit(this.#pace), this.#creditOf(this.#pace, now) + 1)
  }

  /** A block has come, `delay` after it was asked for; it owes `owes` more. */
  came(bytes: Bytes, delay: Milliseconds, owes: number, now: Milliseconds): void {
    this.#given += 1
    this.#lastDelay = delay
    this.#least.add(delay, now)
    if (this.#lastCame !== undefined) this.#gap = Math.min(LONGEST_LOOK, Math.max(this.#gap, now - this.#lastCame))
    this.#lastCame = owes > 0 ? now : undefined
    const look = this.#look
    const next =
      owes > 0 ? { since: now, asked: now - delay, bytes: 0, blocks: 0, least: Infinity, spare: false } : undefined
    if (look === undefined) {
      // After a pause some lines give more for a moment.
      this.#busySince ??= now
      if (now - this.#busySince >= (this.#least.last ?? 0) / 2 && now >= this.#settles) this.#look = next
      if (owes === 0) this.#busySince = undefined
      return
    }
    if (owes === 0) this.#busySince = undefined
    look.bytes += bytes
    look.blocks += 1
    look.least = Math.min(look.least, delay)
    if (this.#pace !== undefined && this.#creditOf(this.#pace, now) >= this.#mostCredit(this.#pace)) look.spare = true
    const passed = now - look.since
    const enough = look.blocks >= LEAST_LOOK_BLOCKS
    if (enough && passed >= this.#lookFor()) this.#judge(look, now)
    else if (enough && owes === 0) this.#glance(look, now)
    else if (owes > 0) return
    this.#look = now >= this.#settles ? next : undefined
    if (this.#pace !== undefined && owes === 0) this.#credit = Math.max(0, this.#creditOf(this.#pace, now))
  }

  /** What is seen of a little that came at once. */
  #glance(look: Look, now: Milliseconds): void {
    const passed = now - look.since
    if (this.#pace === undefined) {
      if (passed >= LEAST_LOOK / 3) this.#begin(look.bytes / passed, now)
      return
    }
    // What was held up comes all at once, which says nothing of the line: so the wait counts too.
    const rate = look.bytes / Math.max(1, now - look.asked)
    if (rate > this.#pace * MUCH_FASTER) this.#raise(rate, now)
  }

  /** From the first queue on it is asked at a pace. */
  #begin(rate: number, now: Milliseconds): void {
    const least = this.#least.last ?? 0
    if (this.#pieceLength / rate + least < NOTICED || this.#lastDelay - least < LATE) return
    this.#raises = FIRST_RAISES
    this.#setPace(rate * BELOW_RATE, now)
  }

  #raise(pace: number, now: Milliseconds): void {
    this.#setPace(pace, now)
    if (this.#pieceLength / pace + (this.#least.last ?? 0) < NOT_NOTICED) this.#pace = undefined
  }

  #judge(look: Look, now: Milliseconds): void {
    const passed = now - look.since
    const rate = look.bytes / passed
    this.#gap *= GAP_FADES
    if (this.#pace === undefined) {
      this.#begin(rate, now)
      return
    }
    this.#rates.add(-rate, now)
    const best = -(this.#rates.last ?? -rate)
    const least = this.#least.last ?? 0
    const block = this.#block / this.#pace
    const late = look.least - least
    const chance = Math.max(LEAST_QUEUE, least * QUEUE_PER_DELAY, block, this.#varies)
    this.#varies *= late < this.#varies / 2 ? VARIES_FADES ** 5 : VARIES_FADES
    if (late > chance) {
      this.#raises = 0
      // A queue gets shorter when it is waited for. What does not, though all comes that is asked for, is how the peer is.
      this.#stays = late >= this.#waitedFor * STAYS && rate >= this.#pace * STAYS ? this.#stays + 1 : 0
      if (this.#stays >= STAYS_FOR) this.#varies = Math.min(late, MOST_VARIES)
      const queue = late - chance
      const slower = this.#pace * (1 - Math.min(MOST_SLOWER, queue / passed))
      // A machine that was busy with other things for a moment looks like a line that broke down.
      const doubtful = late < DELAY_VARIES ? best : Math.max(rate, this.#pace * LEAST_LEFT)
      this.#setPace(Math.min(Math.max(slower, doubtful * (1 - MOST_SLOWER)), doubtful * BELOW_RATE), now)
      // What queues up is waited for once; what was asked for until now says nothing of that.
      const waits = Math.min(queue, LEAST_LOOK)
      this.#credit -= waits / block
      this.#settles = now + this.#lastDelay + waits
      this.#waitedFor = late
      return
    }
    this.#waitedFor = Infinity
    this.#stays = 0
    // It was not asked for all that it may be, or does not give it.
    if (look.spare || rate < this.#pace * STAYS) return
    this.#raises += 1
    this.#raise(this.#pace * (RAISES.find((one) => this.#raises > one.after)?.by ?? 1), now)
  }

  #setPace(pace: number, now: Milliseconds): void {
    this.#credit = this.#pace === undefined ? 0 : this.#creditOf(this.#pace, now)
    this.#creditAt = now
    this.#pace = pace
  }

  #window(speed: number): number {
    const least = this.#least.last
    if (least === undefined) return FIRST_WINDOW
    const lasts = WINDOW + 2 * least
    const bySpeed = Math.max(LEAST_WINDOW, Math.ceil((speed * lasts) / 1000 / this.#block))
    const growing = this.#given < SLOW_START_BLOCKS && this.#lastDelay < lasts
    return growing ? Math.max(bySpeed, FIRST_WINDOW + this.#given) : bySpeed
  }

  #lookFor(): Milliseconds {
    const least = this.#least.last ?? 0
    return Math.max(LEAST_LOOK, 2 * least, Math.min(LONGEST_LOOK, GAPS_A_LOOK * this.#gap))
  }

  /** What may be under way at a pace, in blocks. */
  #most(pace: number): number {
    const lasts = 2 * (this.#least.last ?? 0) + DELAY_VARIES + 2 * this.#gap
    return Math.max(LEAST_WINDOW, Math.ceil((pace * lasts) / this.#block))
  }

  /** After a pause the line is filled at once. */
  #mostCredit(pace: number): number {
    return Math.max(2, Math.min(FIRST_WINDOW, (pace * (this.#least.last ?? 0)) / this.#block + 1))
  }

  #creditOf(pace: number, now: Milliseconds): number {
    const credit = this.#credit + ((now - this.#creditAt) * pace) / this.#block
    this.#creditAt = now
    this.#credit = Math.min(this.#mostCredit(pace), credit)
    return this.#credit
  }
}
