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
export interface RandomResult {
  readonly reads: number
  readonly took: number
}

const SEQUENTIAL_STEP = 256 * 1024
const SMALL_READ = 4096

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

function random(job: Job & { kind: 'random' }): RandomResult {
  const buffer = Buffer.alloc(SMALL_READ)
  const pages = Math.floor(job.size / SMALL_READ)
  const file = openSync(job.path, 'r')
  const began = performance.now()
  let reads = 0
  let took = 0
  while (took < job.within) {
    const count = readSync(file, buffer, 0, SMALL_READ, Math.floor(Math.random() * pages) * SMALL_READ)
    if (count !== SMALL_READ) throw new Error(`a short read of ${job.path}`)
    reads += 1
    took = performance.now() - began
  }
  closeSync(file)
  return { reads, took }
}

process.on('disconnect', () => process.exit(0))
process.on('message', (job: Job) => {
  try {
    const result = job.kind === 'cold' ? cold(job) : job.kind === 'sequential' ? sequential(job) : random(job)
    process.send?.({ result })
  } catch (error) {
    process.send?.({ error: String(error) })
  }
})
