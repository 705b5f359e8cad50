import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bytes, Milliseconds } from '../lib/space/space.js'
import { backMemory, inTurn } from './backed-memory.js'
import type { Row } from './figure.js'
import type { Lab } from './lab.js'
import { mount, type Contestant, type Mount } from './mounts.js'
import { dropPages } from './page-cache.js'
import { read } from './reading.js'
import { Samples } from './samples.js'

/** The rows about reading one large file, measured the same way over HTTP and from a swarm. */
export interface ContentSetting {
  readonly section: string
  readonly contestants: readonly Contestant[]
  /** The file behind the mounts. */
  readonly source: string
  readonly length: Bytes
  /** Bytes that the server or seeder has sent so far. */
  sent(): Promise<Bytes>
  readonly coldTarget: number
  readonly warmTarget: number
  /** Fresh mounts for the cold reads, for the sequential ones, and reads at random of each. */
  readonly coldMounts: number
  readonly sequentialMounts: number
  readonly randomReads: number
  /** The longest that one sequential read may take: of a slow mount only the beginning is read. */
  readonly longest: Milliseconds
  readonly wants: (row: string) => boolean
  readonly say: (what: string) => void
}

const KIB = 1024
const MB = 1e6
const READ: Bytes = 64 * KIB
const SMALL_READS_FOR: Milliseconds = 5_000
const WARM_TRIES = 2
/** What a server still sends when its client has gone, and a client that fetches ahead still asks for. */
const AFTERMATH: Milliseconds = 500

const FIRST = 'first 64 KiB, cold'
const RANDOM = 'random 64 KiB, cold'
const FETCHED = 'bytes fetched per byte asked'
const SEQUENTIAL = 'sequential, cold'
const WARM = 'sequential, warm'
const SMALL = 'random 4 KiB, warm'
const MEMORY = 'peak memory'
export const CONTENT_ROWS: readonly string[] = [FIRST, RANDOM, FETCHED, SEQUENTIAL, WARM, SMALL, MEMORY]

export async function contentRows(lab: Lab, setting: ContentSetting): Promise<Row[]> {
  const samples = new Samples()
  if ([FIRST, RANDOM, FETCHED].some(setting.wants)) await coldReads(lab, setting, samples)
  if ([SEQUENTIAL, WARM, SMALL, MEMORY].some(setting.wants)) await wholeReads(lab, setting, samples)
  const { section, coldTarget, warmTarget } = setting
  const row = (name: string, unit: string, better: Row['better'], target: number): Row | undefined =>
    setting.wants(name) ? samples.row({ section, name, unit, better, target }) : undefined
  return [
    row(FIRST, 'ms', 'less', coldTarget),
    row(RANDOM, 'ms', 'less', coldTarget),
    row(FETCHED, '', 'less', 1),
    row(SEQUENTIAL, 'MB/s', 'more', coldTarget),
    row(WARM, 'MB/s', 'more', warmTarget),
    row(SMALL, 'reads/s', 'more', warmTarget),
    row(MEMORY, 'MB', 'less', 1),
  ].filter((one) => one !== undefined)
}

async function coldReads(lab: Lab, setting: ContentSetting, samples: Samples): Promise<void> {
  const { source, length, randomReads } = setting
  for (let turn = 0; turn < setting.coldMounts; turn++) {
    // The same places for all: far from the start and from one another, so that each is cold.
    const step = Math.floor(length / (randomReads + 1))
    const places = Array.from(
      { length: randomReads },
      (_, i) => (i + 1) * step + randomInt(Math.max(1, step - 2 * READ)),
    )
    const offsets = shuffled(places.map((place) => place - (place % 4096)))
    for (const contestant of inTurn(setting.contestants, turn)) {
      setting.say(`${contestant.name}: cold reads ${turn + 1}/${setting.coldMounts}`)
      const before = await setting.sent()
      const mounted = await mount(lab, contestant)
      const result = await read(lab, { kind: 'cold', path: mounted.file, source, length: READ, offsets })
      await mounted.unmount()
      await sleep(AFTERMATH)
      const fetched = (await setting.sent()) - before
      samples.add(FIRST, contestant.name, result.first)
      samples.add(RANDOM, contestant.name, ...result.random)
      samples.add(FETCHED, contestant.name, fetched / ((offsets.length + 1) * READ))
    }
  }
}

async function wholeReads(lab: Lab, setting: ContentSetting, samples: Samples): Promise<void> {
  for (let turn = 0; turn < setting.sequentialMounts; turn++) {
    for (const contestant of inTurn(setting.contestants, turn)) {
      // What it keeps on disk, what the kernel keeps of the mount, and buffers.
      await backMemory(3 * setting.length)
      setting.say(`${contestant.name}: sequential reads ${turn + 1}/${setting.sequentialMounts}`)
      const mounted = await mount(lab, contestant)
      await wholeRead(lab, setting, samples, mounted, contestant.name)
      await mounted.unmount()
    }
  }
}

async function wholeRead(
  lab: Lab,
  setting: ContentSetting,
  samples: Samples,
  mounted: Mount,
  name: string,
): Promise<void> {
  const path = mounted.file
  const { length, longest, wants } = setting
  const cold = await read(lab, { kind: 'sequential', path, most: length, within: longest })
  samples.add(SEQUENTIAL, name, rate(cold))
  await mounted.idle()
  if (wants(WARM)) {
    for (let tries = 0; tries < WARM_TRIES; tries++) {
      await dropPages(path)
      const warm = await read(lab, { kind: 'sequential', path, most: cold.bytes, within: longest })
      samples.add(WARM, name, rate(warm))
    }
  }
  if (wants(SMALL)) {
    await dropPages(path)
    const { reads, took } = await read(lab, { kind: 'random', path, within: SMALL_READS_FOR, size: cold.bytes })
    samples.add(SMALL, name, (reads * 1000) / took)
  }
  samples.add(MEMORY, name, mounted.peakMemory() / MB)
}

function rate({ bytes, took }: { bytes: Bytes; took: Milliseconds }): number {
  return bytes / MB / (took / 1000)
}

function shuffled<T>(list: readonly T[]): T[] {
  const copy = list.slice()
  for (let i = copy.length - 1; i > 0; i--) {
    const j = randomInt(i + 1)
    const [a, b] = [copy[i], copy[j]]
    if (a === undefined || b === undefined) continue
    copy[i] = b
    copy[j] = a
  }
  return copy
}
