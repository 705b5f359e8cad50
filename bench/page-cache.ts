import { writeFile } from 'node:fs/promises'
import { runProgram } from './lab.js'

/** How warm rows get the kernel's page cache out of the way; said in the report. */
export const DROPPING =
  process.getuid?.() === 0
    ? "the whole page cache was dropped (drop_caches), also that of the mount's own cache files"
    : 'not root: only the pages of the mounted file were dropped (posix_fadvise), its cache files stayed in memory'

/** Makes the kernel forget what it holds of `path`. */
export async function dropPages(path: string): Promise<void> {
  if (process.getuid?.() === 0) {
    await runProgram('sync', [])
    await writeFile('/proc/sys/vm/drop_caches', '3')
  } else {
    await runProgram('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none'])
  }
}
