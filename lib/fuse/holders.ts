import { readdir, readFile, readlink } from 'node:fs/promises'
import { systemCode } from '../errors.js'

/** Who has a file of the mount open or mapped, by what /proc shows. */
export interface Holders {
  /** Processes that may still use it. */
  alive: number
  /** Killed ones, which wait in the kernel for an answer before they can end. */
  dying: number
}

/** True when some process was killed and has not ended yet: it may be waiting for us. */
export async function someAreDying(): Promise<boolean> {
  for (const pid of await processes()) {
    if (await isDying(pid)) return true
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
  for (const pid of await processes()) {
    let held: readonly string[]
    try {
      held = await heldBy(pid, paths)
    } catch (error) {
      // ENOENT, ESRCH: it has ended meanwhile.
      held = hidden && ['EACCES', 'EPERM'].includes(systemCode(error) ?? '') ? [...paths] : []
    }
    if (held.length === 0) continue
    const state = (await isDying(pid)) ? 'dying' : 'alive'
    for (const path of held) {
      const holders = found.get(path)
      if (holders !== undefined) holders[state] += 1
    }
  }
  return found
}

async function processes(): Promise<string[]> {
  return (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
}

/** The mount may be seen below another path there (a container, a chroot): the end of the name decides. */
async function heldBy(pid: string, paths: ReadonlySet<string>): Promise<string[]> {
  const targets: string[] = []
  for (const fd of await readdir(`/proc/${pid}/fd`)) {
    targets.push(await readlink(`/proc/${pid}/fd/${fd}`).catch(() => ''))
  }
  const maps = await readFile(`/proc/${pid}/maps`, 'utf8')
  return Array.from(paths).filter((path) => {
    return targets.some((target) => target.endsWith(path)) || maps.includes(`${path.replaceAll('\n', '\\012')}\n`)
  })
}

/** SIGKILL is pending, for the process or its thread (proc(5): SigPnd, ShdPnd). */
async function isDying(pid: string): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const pending = /^(?:SigPnd|ShdPnd):\t([0-9a-f]{16})$/gm
  return Array.from(status.matchAll(pending)).some(([, mask = '0']) => (BigInt(`0x${mask}`) & SIGKILL_BIT) !== 0n)
}

const SIGKILL_BIT = 1n << 8n
