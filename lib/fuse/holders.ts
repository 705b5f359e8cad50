import { readdir, readFile, readlink } from 'node:fs/promises'
import { systemCode } from '../errors.js'

/**
 * Whether some process may still have the file at `path` of the mount open or mapped, by what /proc shows. In doubt
 * (another file of that name, a process that may use the mount but cannot be looked at) the answer is true.
 * @param others processes of other users may use the mount.
 */
export async function isHeld(path: string, others: boolean): Promise<boolean> {
  const unreadable = others && process.getuid?.() !== 0
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
    try {
      if ((await hasOpen(pid, path)) || (await hasMapped(pid, path))) return true
    } catch (error) {
      // ENOENT, ESRCH: it has ended meanwhile.
      if (unreadable && ['EACCES', 'EPERM'].includes(systemCode(error) ?? '')) return true
    }
  }
  return false
}

/** The mount may be seen below another path there (a container, a chroot): the end of the name decides. */
async function hasOpen(pid: string, path: string): Promise<boolean> {
  for (const fd of await readdir(`/proc/${pid}/fd`)) {
    const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')
    if (target.endsWith(path)) return true
  }
  return false
}

async function hasMapped(pid: string, path: string): Promise<boolean> {
  const maps = await readFile(`/proc/${pid}/maps`, 'utf8')
  const shown = path.replaceAll('\n', '\\012')
  return maps.includes(`${shown}\n`)
}
