import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bytes, Milliseconds } from '../lib/space/space.js'
import type { Row } from './figure.js'
import type { Lab } from './lab.js'
import { mount, type Contestant } from './mounts.js'
import { annexfsOn, aria2, gitAnnexGet, MIB, rcloneOn, slowRemotes, type Remotes } from './parallel-remotes.js'
import { webAndSwarm } from './parallel-swarm.js'
import { read } from './reading.js'
import { Samples } from './samples.js'

/* The rows about one file from several sources at once: each of them is slow, and what counts is what they give together. */

export interface ParallelSetting {
  readonly section: string
  readonly length: Bytes
  readonly turns: number
  readonly randomReads: number
  readonly installed: (program: string) => boolean
  readonly wants: (row: string) => boolean
  readonly say: (what: string) => void
}

const RATE = 8 * MIB
const SLOW = 100 * 1024
const REMOTES = 4
const READ: Bytes = 64 * 1024
const LONGEST: Milliseconds = 170_000
const FAR_LATENCY: Milliseconds = 200
/** What counts as done of the file when a remote begins to fail. */
const FAILS_AT = 0.3
const AFTERMATH: Milliseconds = 500

const ALL = 'four remotes at 8 MiB/s'
const WASTE = 'bytes sent per byte read'
const DROPS = 'one drops to 100 KiB/s midway'
const DIES = 'one dies midway'
const FAR = 'random 64 KiB, one remote 200 ms away'
const SWARM = 'a web seed and a peer at 8 MiB/s'
const ALONE = 'sum of them'
const REST = 'sum of the rest'

export async function parallelRows(lab: Lab, setting: ParallelSetting): Promise<Row[]> {
  const { section, length, wants } = setting
  if (![ALL, WASTE, DROPS, DIES, FAR, SWARM].some(wants)) return []
  const samples = new Samples()
  setting.say(`${section}: preparing`)
  const remotes = await slowRemotes(lab, length, REMOTES, RATE)
  const annexfs = annexfsOn(await remotes.repository([0, 1, 2, 3]))
  for (let turn = 0; turn < setting.turns; turn++) {
    if (wants(ALL) || wants(WASTE)) await allOf(lab, setting, remotes, annexfs, samples)
    if (wants(DROPS)) {
      const drop = (): void => {
        for (const proxy of remotes.proxies.slice(0, 1)) proxy.rate = SLOW
      }
      await failing(lab, setting, remotes, annexfs, samples, DROPS, drop)
    }
    if (wants(DIES)) await failing(lab, setting, remotes, annexfs, samples, DIES, () => remotes.proxies[0]?.die())
  }
  if (wants(ALL)) await others(lab, setting, remotes, samples)
  if (wants(FAR)) await farAway(lab, setting, remotes, samples)
  if (wants(SWARM)) {
    setting.say(`annexfs: ${SWARM}`)
    const rate = await webAndSwarm(lab, length, RATE)
    samples.add(SWARM, 'annexfs', rate / MIB)
    samples.add(SWARM, ALONE, (2 * RATE) / MIB)
  }
  const row = (name: string, unit: string, better: Row['better'], target: number): Row | undefined =>
    wants(name) ? samples.row({ section, name, unit, better, target }) : undefined
  return [
    row(ALL, 'MiB/s', 'more', 0.95),
    row(DROPS, 'MiB/s', 'more', 0.9),
    row(DIES, 'MiB/s', 'more', 0.9),
    row(WASTE, '', 'less', 0.95),
    row(FAR, 'ms', 'less', 0.83),
    row(SWARM, 'MiB/s', 'more', 0.95),
  ].filter((one) => one !== undefined)
}

async function allOf(
  lab: Lab,
  setting: ParallelSetting,
  remotes: Remotes,
  annexfs: Contestant,
  samples: Samples,
): Promise<void> {
  setting.say(`annexfs: ${ALL}`)
  await remotes.reset()
  const before = remotes.sent()
  samples.add(ALL, 'annexfs', (await wholeRead(lab, annexfs, setting.length)) / MIB)
  samples.add(ALL, ALONE, (REMOTES * RATE) / MIB)
  samples.add(WASTE, 'annexfs', (remotes.sent() - before) / setting.length)
  samples.add(WASTE, 'none wasted', 1)
}

/** The rate after one remote has begun to fail. */
async function failing(
  lab: Lab,
  setting: ParallelSetting,
  remotes: Remotes,
  annexfs: Contestant,
  samples: Samples,
  row: string,
  fail: () => void,
): Promise<void> {
  setting.say(`annexfs: ${row}`)
  await remotes.reset()
  const before = remotes.sent()
  const mounted = await mount(lab, annexfs)
  try {
    const reading = read(lab, { kind: 'sequential', path: mounted.file, most: setting.length, within: LONGEST })
    const began = performance.now()
    while (remotes.sent() - before < setting.length * FAILS_AT && performance.now() - began < LONGEST) await sleep(5)
    const healthy = performance.now() - began
    const fetched = remotes.sent() - before
    fail()
    const { bytes, took } = await reading
    if (bytes !== setting.length) throw new Error(`${row}: ${bytes} of ${setting.length} bytes were read`)
    samples.add(row, 'annexfs', ((setting.length - fetched) * 1000) / (took - healthy) / MIB)
    samples.add(row, REST, ((REMOTES - 1) * RATE) / MIB)
  } finally {
    await mounted.unmount()
    await remotes.reset()
  }
}

async function others(lab: Lab, setting: ParallelSetting, remotes: Remotes, samples: Samples): Promise<void> {
  const { length, installed, say } = setting
  const perSecond = (took: Milliseconds): number => (length * 1000) / took / MIB
  say(`git annex get: ${ALL}`)
  samples.add(ALL, 'git annex get', perSecond(await gitAnnexGet(await remotes.repository([0, 1, 2, 3]))))
  if (installed('rclone')) {
    say(`rclone mount: ${ALL}`)
    samples.add(ALL, 'rclone mount', (await wholeRead(lab, rcloneOn(remotes.urls[0] ?? ''), length)) / MIB)
  }
  if (installed('aria2c')) {
    say(`aria2c: ${ALL}`)
    samples.add(ALL, 'aria2c', perSecond(await aria2(lab, remotes.urls)))
  }
}

/** Reads at random: with two remotes of which one is far away, and with the near one alone, in turns. */
async function farAway(lab: Lab, setting: ParallelSetting, remotes: Remotes, samples: Samples): Promise<void> {
  const [near, far] = remotes.proxies
  if (near === undefined || far === undefined) return
  const both = annexfsOn(await remotes.repository([1, 0]))
  const alone = annexfsOn(await remotes.repository([0]))
  near.rate = Infinity
  far.latency = FAR_LATENCY
  for (let turn = 0; turn < setting.turns; turn++) {
    const step = Math.floor(setting.length / (setting.randomReads + 1))
    const offsets = Array.from({ length: setting.randomReads }, (_, i) => (i * 7 + 3) % setting.randomReads).map(
      (i) => (i + 1) * step + randomInt(step - 2 * READ),
    )
    for (const [name, contestant] of [
      ['annexfs', both],
      ['the near one alone', alone],
    ] as const) {
      setting.say(`${name}: ${FAR}`)
      const mounted = await mount(lab, contestant)
      const job = { kind: 'cold', path: mounted.file, source: remotes.file, length: READ, offsets } as const
      samples.add(FAR, name, ...(await read(lab, job)).random)
      await mounted.unmount()
      await sleep(AFTERMATH)
    }
  }
  await remotes.reset()
}

/** Bytes per second of a sequential read of all of it. */
async function wholeRead(lab: Lab, contestant: Contestant, length: Bytes): Promise<number> {
  const mounted = await mount(lab, contestant)
  try {
    const { bytes, took } = await read(lab, { kind: 'sequential', path: mounted.file, most: length, within: LONGEST })
    if (bytes !== length) throw new Error(`${contestant.name}: ${bytes} of ${length} bytes were read`)
    return (bytes * 1000) / took
  } finally {
    await mounted.unmount()
  }
}
