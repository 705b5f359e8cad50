import { readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Bytes, Milliseconds } from '../lib/space/space.js'
import { isMounted, makeFolder, unmount, type Lab } from './lab.js'
import { watchMemory } from './memory.js'

/** A way to mount the content that is measured: the program and its arguments, for one fresh set of folders. */
export interface Contestant {
  readonly name: string
  /** Said in the report: the settings that matter. */
  readonly settings: string
  /** Path of the measured file, from the mount point. */
  readonly file: string
  /** `cache` is an empty folder; `home` too. */
  command(folders: { mountpoint: string; cache: string; home: string }): readonly string[]
}

export interface Mount {
  readonly path: string
  readonly file: string
  /** From the start of the program until it was mounted. */
  readonly took: Milliseconds
  /** Peak of all its processes so far. */
  peakMemory(): Bytes
  /** Waits until it has nothing left to do, e.g. a check in the background. */
  idle(): Promise<void>
  unmount(): Promise<void>
}

const START_TIMEOUT: Milliseconds = 60_000
const STEP: Milliseconds = 2

export const ANNEXFS = fileURLToPath(new URL('../cmd/annexfs.cjs', import.meta.url))

/** Mounts with fresh, empty folders. @throws Error when it does not mount within a minute. */
export async function mount(lab: Lab, contestant: Contestant): Promise<Mount> {
  const folder = await lab.folderFor(contestant.name.replaceAll(' ', '-'))
  const mountpoint = await makeFolder(folder, 'mnt')
  const cache = await makeFolder(folder, 'cache')
  const home = await makeFolder(folder, 'home')
  lab.onClose(() => unmount(mountpoint))
  const began = performance.now()
  const program = lab.start(contestant.command({ mountpoint, cache, home }), {
    env: { HOME: home, XDG_CACHE_HOME: join(home, 'cache'), XDG_CONFIG_HOME: join(home, 'config') },
  })
  while (!(await isMounted(mountpoint))) {
    if (program.ended() || performance.now() - began > START_TIMEOUT) {
      throw new Error(`${contestant.name} did not mount: ${program.said()}`)
    }
    await sleep(STEP)
  }
  const took = performance.now() - began
  const memory = watchMemory(program.pid)
  const file = join(mountpoint, contestant.file)
  if (contestant.file !== '') await appearance(file, contestant.name)
  return {
    path: mountpoint,
    file,
    took,
    peakMemory: () => memory.peak(),
    idle: () => idle(program.pid),
    unmount: async () => {
      memory.stop()
      await unmount(mountpoint)
      await program.stop()
    },
  }
}

/** btfs shows a file only when it has the metadata. */
async function appearance(file: string, name: string): Promise<void> {
  const end = performance.now() + START_TIMEOUT
  for (;;) {
    try {
      await stat(file)
      return
    } catch (error) {
      if (performance.now() > end) throw new Error(`${name} never showed ${file}`, { cause: error })
      await sleep(20)
    }
  }
}

const IDLE_LOOK: Milliseconds = 250
const IDLE_WAIT: Milliseconds = 15_000
/** Clock ticks (10 ms each) within one look. */
const IDLE_TICKS = 3

async function idle(pid: number): Promise<void> {
  const end = performance.now() + IDLE_WAIT
  let before = ticksOf(pid)
  for (let quiet = 0; quiet < 2 && performance.now() < end;) {
    await sleep(IDLE_LOOK)
    const now = ticksOf(pid)
    quiet = now - before <= IDLE_TICKS ? quiet + 1 : 0
    before = now
  }
}

/** Processor time used so far (proc(5), utime and stime). */
function ticksOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /s, '')
    .split(' ')
  return Number(fields[11]) + Number(fields[12])
}
