import { isAnnexfsError, reasonOf } from '../errors.js'
import { pieceSize, type Milliseconds, type PieceSpace, type Urgency } from '../space/space.js'
import { checkPiece, type Piece } from '../verify/piece.js'
import { Assembly, BLOCK_LENGTH, type Giver } from './assembly.js'
import type { AssemblyMemory } from './assembly-memory.js'
import type { Blame } from './blame.js'
import { byUrgency, moreUrgent, type Want } from './order.js'

export interface PickerEvents {
  /** A wanted piece is there and its hash is right; returns when it is kept. */
  arrived(piece: Piece): Promise<void>
  failed(index: number, reason: string): void
  /** This address has given wrong pieces: speak to it no more. */
  ban(address: string): void
}

/** A block is asked of a second peer when the first has not given it after this long. */
const OVERDUE: Milliseconds = 700
/** A peer that owes blocks and gave nothing for this long is not waited for. */
const SNUBBED: Milliseconds = 3000
const MOST_ASKED = 2
/** A piece that takes this much longer is worth beginning again with a better peer. */
const CRAWLING: Milliseconds = 3000
/** After so many changes of owner a piece is shared after all: better a doubtful piece than none. */
const MOST_TAKEOVERS = 3
const MOST_WANTS = 4096
/** Of the memory for assemblies; the rest is kept for what somebody waits for. */
const SHARE_OF_READAHEAD = 0.75

/**
 * Decides which block is asked of which peer, and puts the pieces together. It replaces webtorrent's own selection,
 * which can neither forget an urgent piece nor tell who gave a wrong one. Owned by one torrent of the swarm's process;
 * all its methods are synchronous and it is told everything (peers, blocks, time) from outside.
 */
export class Picker {
  readonly #wants = new Map<number, Want & { readonly since: number }>()
  readonly #assemblies = new Map<number, Assembly>()
  readonly #verifying = new Set<number>()
  /** Addresses that gave a wanted piece wrong: others are asked for it first. */
  readonly #wrongGivers = new Map<number, Set<string>>()
  readonly #givers = new Map<Giver, { lastBlock: number; owes: number; snubbed: boolean }>()
  #ordered: Want[] | undefined
  #counter = 0
  #closed = false

  constructor(
    readonly space: PieceSpace,
    private readonly memory: AssemblyMemory,
    private readonly blame: Blame,
    private readonly stallTimeout: Milliseconds,
    private readonly events: PickerEvents,
  ) {}

  get wanted(): number {
    return this.#wants.size
  }

  want(index: number, urgency: Urgency): void {
    if (this.#closed) return
    const before = this.#wants.get(index)
    if (before === undefined && this.#wants.size >= MOST_WANTS) {
      this.events.failed(index, `more than ${MOST_WANTS} pieces are wanted at once`)
      return
    }
    this.#wants.set(index, {
      index,
      urgency: before === undefined ? urgency : moreUrgent(before.urgency, urgency),
      asked: before?.asked ?? this.#counter++,
      since: before?.since ?? Date.now(),
      hurry: before?.hurry ?? (urgency === 'read' && !this.#isWaitedFor()),
    })
    this.#ordered = undefined
    this.askAll()
  }

  /**
   * Nobody wants it any more: what is in flight is called back. Nothing is asked for in its place yet, since who gives up one
   * piece is about to give up others, or to want another: {@link askAll} is to be called soon.
   */
  cancel(index: number): void {
    if (this.#forget(index) && !this.#verifying.has(index)) this.#drop(index)
  }

  join(giver: Giver): void {
    this.#givers.set(giver, { lastBlock: Date.now(), owes: 0, snubbed: false })
    this.askOf(giver)
  }

  leave(giver: Giver): void {
    if (!this.#givers.delete(giver)) return
    for (const assembly of this.#assemblies.values()) {
      for (const owed of assembly.outstanding()) if (owed.giver === giver) assembly.release(owed.at, giver)
      // What it gave alone is of no use to another.
      if (assembly.owner === giver && !this.#verifying.has(assembly.index)) this.#drop(assembly.index)
    }
    this.askAll()
  }

  /** Fast peers choose first. */
  askAll(): void {
    if (this.#wants.size === 0) return
    for (const giver of [...this.#givers.keys()].toSorted((left, right) => right.speed() - left.speed())) {
      this.askOf(giver)
    }
  }

  askOf(giver: Giver): void {
    const state = this.#givers.get(giver)
    if (state === undefined || this.#wants.size === 0 || this.blame.banned(giver.address)) return
    this.#hurry(giver)
    let room = giver.room()
    while (room-- > 0) {
      const next = this.#choose(giver)
      if (next === undefined) return
      this.#ask(giver, next.assembly, next.at)
    }
  }

  /** What somebody began to wait for alone: each peer is asked for its part at once. */
  #hurry(giver: Giver): void {
    this.#ordered ??= [...this.#wants.values()].toSorted(byUrgency)
    const [first] = this.#ordered
    if (first?.hurry !== true || !giver.has(first.index)) return
    let room = Math.min(giver.room(true), this.#partOf(giver, first.index))
    while (room-- > 0) {
      const next = this.#choose(giver, first)
      if (next === undefined) return
      this.#ask(giver, next.assembly, next.at)
    }
  }

  /** How many blocks of a piece this peer gives while the others give the rest. */
  #partOf(giver: Giver, index: number): number {
    const blocks = Math.ceil(pieceSize(this.space, index) / BLOCK_LENGTH)
    let all = 0
    for (const other of this.#givers.keys()) if (other.has(index)) all += other.speed()
    const part = all > 0 ? Math.ceil((blocks * giver.speed()) / all) : blocks
    const asked = this.#assemblies.get(index)?.blocks.filter((block) => block.asked.includes(giver)).length ?? 0
    return part - asked
  }

  #isWaitedFor(): boolean {
    for (const want of this.#wants.values()) if (want.urgency === 'read') return true
    return false
  }

  /** To be called a few times a second. */
  tick(): void {
    const now = Date.now()
    for (const [giver, state] of this.#givers) {
      if (state.owes === 0 || now - state.lastBlock < SNUBBED || state.snubbed) continue
      state.snubbed = true
      for (const assembly of this.#assemblies.values()) {
        for (const owed of assembly.outstanding()) if (owed.giver === giver) assembly.release(owed.at, giver)
      }
    }
    for (const want of this.#wants.values()) {
      const progress = Math.max(want.since, this.#assemblies.get(want.index)?.lastProgress ?? 0)
      if (now - progress > this.stallTimeout && !this.#verifying.has(want.index)) this.#giveUp(want.index)
    }
    this.askAll()
  }

  close(): void {
    this.#closed = true
    this.#wants.clear()
    this.#ordered = undefined
    for (const index of this.#assemblies.keys()) this.#drop(index)
    this.#givers.clear()
  }

  #forget(index: number): boolean {
    this.#wrongGivers.delete(index)
    this.#ordered = undefined
    return this.#wants.delete(index)
  }

  #giveUp(index: number): void {
    const having = [...this.#givers.keys()].filter((giver) => giver.has(index)).length
    this.#forget(index)
    this.#drop(index)
    const seconds = Math.round(this.stallTimeout / 1000)
    this.events.failed(
      index,
      `no peer gave it within ${seconds} s (connected: ${this.#givers.size}, of those that have it: ${having})`,
    )
  }

  /** @param only nothing else than this. */
  #choose(giver: Giver, only?: Want): { assembly: Assembly; at: number } | undefined {
    this.#ordered ??= [...this.#wants.values()].toSorted(byUrgency)
    const trusted = this.blame.trusted(giver.address)
    if (!trusted) {
      const own = [...this.#assemblies.values()].find((assembly) => assembly.owner === giver)
      if (own !== undefined) {
        if (only !== undefined && own.index !== only.index) return undefined
        const at = own.free()
        return at >= 0 ? { assembly: own, at } : undefined
      }
    }
    for (const { index, urgency } of only === undefined ? this.#ordered : [only]) {
      if (this.#verifying.has(index) || !giver.has(index) || this.#betterElsewhere(index, giver)) continue
      const assembly = this.#assemblies.get(index) ?? this.#open(index, urgency)
      if (assembly === undefined) break
      const open = this.#opened(assembly, giver, trusted)
      if (open === undefined) continue
      const at = open.free()
      if (at < 0) continue
      if (!trusted && open.takeovers <= MOST_TAKEOVERS) open.owner = giver
      return { assembly: open, at }
    }
    return trusted && only === undefined ? this.#chooseOverdue(giver) : undefined
  }

  /**
   * The assembly that `giver` may add to for this piece: a trusted peer to what has no owner, another only to what it
   * has for itself. A piece that is stalled, or whose owner crawls, is begun again: what it gave is of no use to others.
   */
  #opened(assembly: Assembly, giver: Giver, trusted: boolean): Assembly | undefined {
    const owner = assembly.owner
    if (owner === giver || assembly.takeovers > MOST_TAKEOVERS || assembly.untouched) return assembly
    if (owner === undefined && trusted) return assembly
    const idle = Date.now() - assembly.lastProgress
    if (idle < SNUBBED && (owner === undefined || !this.#outdoes(giver, owner, assembly))) return undefined
    this.#drop(assembly.index)
    const fresh = this.#open(assembly.index, 'read')
    if (fresh !== undefined) fresh.takeovers = assembly.takeovers + 1
    return fresh
  }

  /** Is it better that `giver` begins again what `owner` is at? One that gave nothing yet gets its chance early or not. */
  #outdoes(giver: Giver, owner: Giver, assembly: Assembly): boolean {
    const now = Date.now()
    const elapsed = assembly.elapsed(now)
    const remaining = assembly.remaining(now)
    if (elapsed < OVERDUE || remaining < CRAWLING) return false
    if (giver.speed() > 0) return giver.speed() > 4 * owner.speed()
    return this.#givers.get(giver)?.owes === 0 && elapsed > 2 * OVERDUE && remaining > 4 * elapsed
  }

  #betterElsewhere(index: number, giver: Giver): boolean {
    const wrong = this.#wrongGivers.get(index)
    if (wrong === undefined || !wrong.has(giver.address)) return false
    return [...this.#givers.keys()].some((other) => other.has(index) && !wrong.has(other.address))
  }

  #chooseOverdue(giver: Giver): { assembly: Assembly; at: number } | undefined {
    const since = Date.now() - OVERDUE
    for (const { index, urgency } of this.#ordered ?? []) {
      if (urgency !== 'read') return undefined
      const assembly = this.#assemblies.get(index)
      if (assembly === undefined || assembly.owner !== undefined || !giver.has(index)) continue
      const at = assembly.overdue(giver, since, MOST_ASKED)
      if (at >= 0) return { assembly, at }
    }
    return undefined
  }

  #open(index: number, urgency: Urgency): Assembly | undefined {
    const bytes = this.memory.take(pieceSize(this.space, index), urgency === 'read' ? 1 : SHARE_OF_READAHEAD)
    if (bytes === undefined) return undefined
    const assembly = new Assembly(index, bytes, Date.now())
    this.#assemblies.set(index, assembly)
    return assembly
  }

  #drop(index: number): void {
    const assembly = this.#assemblies.get(index)
    if (assembly === undefined) return
    this.#assemblies.delete(index)
    // Whoever hashes or stores it now still reads from it.
    this.memory.give(assembly.bytes, !this.#verifying.has(index))
    for (const { at, giver } of assembly.outstanding()) {
      assembly.release(at, giver)
      giver.cancel(index, assembly.offset(at), assembly.length(at))
    }
  }

  #ask(giver: Giver, assembly: Assembly, at: number): void {
    const state = this.#givers.get(giver)
    const block = assembly.blocks[at]
    if (state === undefined || block === undefined) return
    const now = Date.now()
    if (state.owes === 0) state.lastBlock = now
    state.owes += 1
    block.asked.push(giver)
    block.askedAt = now
    giver.request(assembly.index, assembly.offset(at), assembly.length(at), (error, bytes) => {
      state.owes -= 1
      assembly.release(at, giver)
      if (error !== null || bytes === undefined) return
      state.lastBlock = Date.now()
      state.snubbed = false
      if (this.#assemblies.get(assembly.index) !== assembly || !assembly.take(at, giver, bytes, state.lastBlock)) return
      for (const other of block.asked.slice()) {
        assembly.release(at, other)
        other.cancel(assembly.index, assembly.offset(at), assembly.length(at))
      }
      if (assembly.complete) void this.#verify(assembly)
    })
  }

  async #verify(assembly: Assembly): Promise<void> {
    const { index } = assembly
    this.#verifying.add(index)
    try {
      const piece = await checkPiece(this.space, index, assembly.bytes)
      this.blame.right(assembly.givers)
      await this.events.arrived(piece)
      this.#forget(index)
    } catch (error) {
      if (!isAnnexfsError(error, 'CORRUPT')) {
        this.#forget(index)
        this.events.failed(index, reasonOf(error))
      } else {
        const liar = this.blame.wrong(assembly.givers)
        const [alone] = assembly.givers
        if (alone !== undefined && assembly.givers.size === 1 && this.#wants.has(index)) {
          this.#wrongGivers.set(index, (this.#wrongGivers.get(index) ?? new Set()).add(alone))
        }
        if (liar !== undefined) this.events.ban(liar)
      }
    } finally {
      this.#verifying.delete(index)
      if (this.#assemblies.get(index) === assembly) this.#drop(index)
      if (!this.#closed) this.askAll()
    }
  }
}
