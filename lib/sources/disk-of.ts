import { readFile, realpath } from 'node:fs/promises'
import { AnnexfsError } from '../errors.js'
import { ownDisk, type Disk } from './disk.js'
import { farDisk } from './far-disk.js'

/** File systems that wait for others to answer (proc_pid_mountinfo(5)); all of FUSE do. */
const FAR =
  /^(?:fuse(?:blk|\..*)?|nfs4?|cifs|smb3|smbfs|9p|afs|ceph|glusterfs|lustre|gfs2|ocfs2|beegfs|virtiofs|davfs|autofs)$/

/** What reads a folder, which may be on another file system each time: disks are mounted and taken away. */
export interface FolderDisk {
  current(): Promise<Disk>
  close(): void
}

/** Reads `folder`, by another process while it is on a file system that may hang. */
export function diskOf(folder: string): FolderDisk {
  let far: Disk | undefined
  let closed = false
  return {
    current: async () => {
      if (!(await mayHang(folder))) return ownDisk
      if (closed) throw new AnnexfsError('ABORTED', `the remote in ${folder} was closed`)
      far ??= farDisk()
      return far
    },
    close: () => {
      closed = true
      far?.close()
    },
  }
}

async function mayHang(folder: string): Promise<boolean> {
  // Without /proc nothing is known of any.
  const table = await readFile('/proc/self/mountinfo', 'latin1').catch(() => '')
  // Before anything is asked of it.
  if (isFar(folder, table)) return true
  const real = await realpath(folder).catch(() => folder)
  return isFar(real, table)
}

/** Whether `path` (absolute) lies on a file system that may hang; `table`: the text of mountinfo as latin1. */
export function isFar(path: string, table: string): boolean {
  const wanted = Buffer.from(`${path.replace(/\/+$/, '')}/`).toString('latin1')
  let longest = ''
  let type = ''
  for (const line of table.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    const place = (before.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 8)),
    )
    const folder = place.endsWith('/') ? place : `${place}/`
    // Of mounts at the same place the last one is on top.
    if (place === '' || !wanted.startsWith(folder) || folder.length < longest.length) continue
    longest = folder
    type = after.split(' ')[0] ?? ''
  }
  return FAR.test(type)
}
