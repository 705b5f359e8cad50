import { closeSync, openSync, readSync } from 'node:fs'

/*
 * Reads a mount for the benchmark, in a process of its own: a read that hangs must not keep the benchmark from cleaning
 * up. Reads are synchronous, one after the other, as a simple program would make them.
 */

/** What the reader can be told. Offsets and lengths in bytes, times in milliseconds. */
export type Job =
  | {
      readonly kind: 'cold'
      readonly path: string
      readonly source: string
      readonly length: number
      readonly offsets: readonly number[]
    }
  | { readonly kind: 'sequential'; readonly path: string; readonly most: number; readonly within: number }
  | {
      readonly kind: 'play'
      readonly path: string
      /** Bytes a second. */
      readonly rate: number
      /** Where to play from, and for how long; each but the first is a seek of somebody who is playing. */
      readonly places: readonly { readonly offset: number; readonly duration: number }[]
    }
  | { readonly kind: 'random'; readonly path: string; readonly within: number; readonly size: number }

/** `cold`: the time from open to the first bytes, then of a read at each of the offsets. */
export interface ColdResult {
  readonly first: number
  readonly random: readonly number[]
}
export interface SequentialResult {
  readonly bytes: number
  readonly took: number
}
/** Of each place: the time to its first bytes, to the start of playing, and all pauses after that together. */
export interface PlayResult {
  readonly first: readonly number[]
  readonly started: readonly number[]
  readonly stalled: readonly number[]
}
export interface RandomResult {
  readonly reads: number
  readonly took: number
}

const SEQUENTIAL_STEP = 256 * 1024
const SMALL_READ = 4096
/** As ffmpeg reads, and what a player has read before it shows anything, and at most beyond what it shows. */
const PLAYER_STEP = 32 * 1024
const STARTS_WITH = 500
const HOLDS = 2_000

function cold(job: Job & { kind: 'cold' }): ColdResult {
  const bytes = Buffer.alloc(job.length)
  const right = Buffer.alloc(job.length)
  const source = openSync(job.source, 'r')
  const check = (offset: number, count: number): void => {
    readSync(source, right, 0, job.length, offset)
    if (count !== job.length || !bytes.equals(right)) throw new Error(`wrong bytes at ${offset} of ${job.path}`)
  }
  const began = performance.now()
  const file = openSync(job.path, 'r')
  const count = readSync(file, bytes, 0, job.length, 0)
  const first = performance.now() - began
  check(0, count)
  const random = job.offsets.map((offset) => {
    const start = performance.now()
    const got = readSync(file, bytes, 0, job.length, offset)
    const took = performance.now() - start
    check(offset, got)
    return took
  })
  closeSync(file)
  closeSync(source)
  return { first, random }
}

function sequential(job: Job & { kind: 'sequential' }): SequentialResult {
  const buffer = Buffer.alloc(SEQUENTIAL_STEP)
  const began = performance.now()
  const file = openSync(job.path, 'r')
  let bytes = 0
  while (bytes < job.most && performance.now() - began < job.within) {
    const count = readSync(file, buffer, 0, SEQUENTIAL_STEP, bytes)
    if (count === 0) break
    bytes += count
  }
  const took = performance.now() - began
  closeSync(file)
  return { bytes, took }
}

/** A player: holds two seconds, starts with half a second, pauses when it has nothing left. */
function play(job: Job & { kind: 'play' }): PlayResult {
  const buffer = Buffer.alloc(PLAYER_STEP)
  const file = openSync(job.path, 'r')
  const result = { first: [] as number[], started: [] as number[], stalled: [] as number[] }
  const perMs = job.rate / 1000
  for (const { offset, duration } of job.places) {
    const began = performance.now()
    let held = 0
    let played = 0
    let since: number | undefined
    let stalled = 0
    for (;;) {
      const count = readSync(file, buffer, 0, PLAYER_STEP, offset + held)
      const now = performance.now()
      if (count !== PLAYER_STEP) throw new Error(`a short read of ${job.path}`)
      if (held === 0) result.first.push(now - began)
      if (since !== undefined) {
        const wanted = played + (now - since) * perMs
        stalled += Math.max(0, wanted - held) / perMs
        played = Math.min(wanted, held)
        since = now
      }
      held += count
      if (since === undefined && held >= STARTS_WITH * perMs) {
        since = now
        result.started.push(now - began)
      }
      if (now - began > duration) break
      const room = HOLDS * perMs - (held - played)
      if (room < PLAYER_STEP) sleep((PLAYER_STEP - room) / perMs)
    }
    result.stalled.push(stalled)
  }
  closeSync(file)
  return result
}

function sleep(duration: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, duration)
}

/** No page twice: the second time the kernel would have it, and the mount nothing to do. */
function random(job: Job & { kind: 'random' }): RandomResult {
  const buffer = Buffer.alloc(SMALL_READ)
  const pages = new Uint32Array(Math.floor(job.size / SMALL_READ)).map((_, nth) => nth)
  const file = openSync(job.path, 'r')
  const began = performance.now()
  let reads = 0
  let took = 0
  while (took < job.within && reads < pages.length) {
    const chosen = reads + Math.floor(Math.random() * (pages.length - reads))
    const page = pages[chosen] ?? 0
    pages[chosen] = pages[reads] ?? 0
    const count = readSync(file, buffer, 0, SMALL_READ, page * SMALL_READ)
    if (count !== SMALL_READ) throw new Error(`a short read of ${job.path}`)
    reads += 1
    took = performance.now() - began
  }
  closeSync(file)
  return { reads, took }
}

function done(job: Job): ColdResult | SequentialResult | PlayResult | RandomResult {
  switch (job.kind) {
    case 'cold':
      return cold(job)
    case 'sequential':
      return sequential(job)
    case 'play':
      return play(job)
    case 'random':
      return random(job)
  }
}

process.on('disconnect', () => process.exit(0))
process.on('message', (job: Job) => {
  try {
    process.send?.({ result: done(job) })
  } catch (error) {
    process.send?.({ error: String(error) })
  }
})
