import { isAnnexfsError, reasonOf, systemCode } from '../errors.js'
import { ownDisk, type DiskFile } from './disk.js'
import type { DiskAnswer, DiskRequest, OpenedFile } from './far-disk-messages.js'

/** The process in which far disks are read: it may hang, and is killed then. */

const files = new Map<number, DiskFile>()
let lastFile = 0

async function answer(request: DiskRequest): Promise<unknown> {
  switch (request.what) {
    case 'realpath':
      return ownDisk.realpath(Buffer.from(request.path))
    case 'stamp':
      return ownDisk.stamp(Buffer.from(request.path))
    case 'open': {
      const opened = await ownDisk.open(Buffer.from(request.path), request.size)
      if (opened === undefined) return undefined
      const file = ++lastFile
      files.set(file, opened)
      const { size, settled, version } = opened
      return { file, size, settled, version } satisfies OpenedFile
    }
    case 'read': {
      const file = files.get(request.file)
      if (file === undefined) throw new Error('the file is not open')
      return file.read(request.offset, request.length)
    }
    case 'close':
      files.get(request.file)?.close()
      files.delete(request.file)
      return undefined
  }
}

function tell(message: DiskAnswer): void {
  // It may be gone: then nobody waits for the answer.
  if (process.connected) process.send?.(message)
}

process.on('message', (request: DiskRequest) => {
  answer(request).then(
    (value) => tell({ id: request.id, value }),
    (error: unknown) => {
      const system = systemCode(error)
      tell({
        id: request.id,
        failure: {
          message: reasonOf(error),
          ...(isAnnexfsError(error) ? { code: error.code } : {}),
          ...(system === undefined || isAnnexfsError(error) ? {} : { system }),
        },
      })
    },
  )
})
// An orderly end would wait for the threads that hang.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
// The terminal's ^C is for the mount, which ends this one.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) process.on(signal, () => undefined)
