import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { systemCode } from '../errors.js'
import type { Milliseconds } from '../space/space.js'

/*
 * What is asked of /proc here comes from the kernel's memory at once, so that a thousand processes are asked in the time in
 * which a hundred would be by threads of the pool; but for `maps`, which waits for a process that waits for us.
 */

/** Others have their turn after so much of it. */
const LONGEST_TURN: Milliseconds = 2

/** Who has a file of the mount open or mapped, by what /proc shows. */
export interface Holders {
  /** Processes that may still use it. */
  alive: number
  /** Killed ones, which wait in the kernel for an answer before they can end. */
  dying: number
}

/** True when some process was killed and has not ended yet: it may be waiting for us. */
export async function someAreDying(): Promise<boolean> {
  for await (const pid of processes()) {
    if (isDying(pid)) return true
  }
  return false
}

/**
 * Who holds each of `paths` of the mount. In doubt (another file of that name, a process that may use the mount but
 * cannot be looked at) a holder is counted as alive.
 * @param others processes of other users may use the mount.
 */
export async function holdersOf(paths: ReadonlySet<string>, others: boolean): Promise<ReadonlyMap<string, Holders>> {
  const found = new Map(Array.from(paths, (path) => [path, { alive: 0, dying: 0 }]))
  const hidden = others && process.getuid?.() !== 0
  for await (const pid of processes()) {
    const state = isDying(pid) ? 'dying' : 'alive'
    let held: readonly string[]
    try {
      held = openBy(pid, paths)
      // Whoever is about to end uses no mapping any more.
      if (state === 'alive') held = [...held, ...(await mappedBy(pid, paths))]
    } catch (error) {
      // ENOENT, ESRCH: it has ended meanwhile.
      held = hidden && ['EACCES', 'EPERM'].includes(systemCode(error) ?? '') ? [...paths] : []
    }
    for (const path of new Set(held)) {
      const holders = found.get(path)
      if (holders !== undefined) holders[state] += 1
    }
  }
  return found
}

async function* processes(): AsyncGenerator<string, void, undefined> {
  let since = performance.now()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    if (performance.now() - since > LONGEST_TURN) {
      await new Promise((resolve) => setImmediate(resolve))
      since = performance.now()
    }
    yield name
  }
}

/** The mount may be seen below another path there (a container, a chroot): the end of the name decides. */
function openBy(pid: string, paths: ReadonlySet<string>): string[] {
  const targets = readdirSync(`/proc/${pid}/fd`).map((fd) => targetOf(`/proc/${pid}/fd/${fd}`))
  return Array.from(paths).filter((path) => targets.some((target) => target.endsWith(path)))
}

/** Where a link of /proc leads; empty when the descriptor was closed meanwhile. */
export function targetOf(link: string): string {
  try {
    return readlinkSync(link)
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return ''
  }
}

async function mappedBy(pid: string, paths: ReadonlySet<string>): Promise<string[]> {
  const maps = await readFile(`/proc/${pid}/maps`, 'utf8')
  return Array.from(paths).filter((path) => maps.includes(`${path.replaceAll('\n', '\\012')}\n`))
}

/** SIGKILL is pending, for the process or its thread (proc(5): SigPnd, ShdPnd). */
function isDying(pid: string): boolean {
  let status: string
  try {
    status = readFileSync(`/proc/${pid}/status`, 'latin1')
  } catch (error) {
    // It has ended meanwhile.
    if (systemCode(error) === undefined) throw error
    return false
  }
  const pending = /^(?:SigPnd|ShdPnd):\t([0-9a-f]{16})$/gm
  return Array.from(status.matchAll(pending)).some(([, mask = '0']) => (BigInt(`0x${mask}`) & SIGKILL_BIT) !== 0n)
}

const SIGKILL_BIT = 1n << 8n
