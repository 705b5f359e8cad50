import { readFile } from 'node:fs/promises'

/** One line of /proc/self/mountinfo (proc_pid_mountinfo(5)). */
export interface MountEntry {
  readonly id: number
  /** `major:minor`, as under /sys/class/bdi. */
  readonly device: string
  readonly mountpoint: string
  readonly options: readonly string[]
  /** With its subtype: `fuse.annexfs`. */
  readonly type: string
  readonly source: string
}

/** The type that our mounts have in the mount table. */
export const MOUNT_SUBTYPE = 'annexfs'

/** Every mount this process sees, in the order in which they hide one another (the last one is on top). */
export async function mountTable(): Promise<readonly MountEntry[]> {
  // Paths are bytes: latin1 keeps each of them until the escapes are undone.
  return parseMountTable(await readFile('/proc/self/mountinfo', 'latin1'))
}

/** Parses the text of mountinfo, read as latin1. Lines that are not understood are left out. */
export function parseMountTable(text: string): readonly MountEntry[] {
  const entries: MountEntry[] = []
  for (const line of text.split('\n')) {
    const [before, after] = splitOnce(line, ' - ')
    if (after === undefined) continue
    const [id, , device, , mountpoint, options] = before.split(' ')
    const [type, source] = after.split(' ')
    if (device === undefined || mountpoint === undefined || type === undefined || source === undefined) continue
    entries.push({
      id: Number(id),
      device,
      mountpoint: unescapeOctal(mountpoint),
      options: (options ?? '').split(','),
      type: unescapeOctal(type),
      source: unescapeOctal(source),
    })
  }
  return entries
}

/** The topmost mount at exactly `mountpoint` (absolute, without symbolic links), if there is one. */
export function mountAt(table: readonly MountEntry[], mountpoint: string): MountEntry | undefined {
  return table.findLast((entry) => entry.mountpoint === mountpoint)
}

/** True for a mount that annexfs made. */
export function isAnnexfsMount(entry: MountEntry): boolean {
  // Where the kernel or fusermount refuses subtypes, libfuse mounts type `fuse` and source `subtype#name`.
  return (
    entry.type === `fuse.${MOUNT_SUBTYPE}` || (entry.type === 'fuse' && entry.source.startsWith(`${MOUNT_SUBTYPE}#`))
  )
}

/** Undoes the kernel's `\040` escapes (of space, tab, newline, backslash and `#`) and decodes the bytes as UTF-8. */
function unescapeOctal(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)]
}
