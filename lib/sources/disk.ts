import { lstat, realpath } from 'node:fs/promises'
import type { Bytes } from '../space/space.js'
import { openLocalFile, type LocalFile, type LocalPath } from './local-file.js'

/** An open file of a {@link Disk}. */
export type DiskFile = Pick<LocalFile, 'size' | 'settled' | 'version' | 'read' | 'close'>

/** The file systems of this machine, as far as remotes are read from them. */
export interface Disk {
  /** Absolute, with links resolved. @throws a system error. */
  realpath(path: Buffer): Promise<Buffer>
  /** Size and time, of a link its own. @throws a system error. */
  stamp(path: Buffer): Promise<{ readonly size: bigint; readonly modified: bigint }>
  /** As `openLocalFile`. */
  open(path: LocalPath, expectedSize: Bytes | undefined): Promise<DiskFile | undefined>
  /** Lets go of what it keeps; files that are open can be read no more. */
  close(): void
}

/** Read by this process itself. */
export const ownDisk: Disk = {
  realpath: (path) => realpath(path, { encoding: 'buffer' }),
  stamp: async (path) => {
    const { size, mtimeNs } = await lstat(path, { bigint: true })
    return { size, modified: mtimeNs }
  },
  open: openLocalFile,
  close: () => undefined,
}
