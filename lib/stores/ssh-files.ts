import { AnnexfsError, reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Demand } from '../sources/source.js'
import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'
import { lacksSubsystem } from './ssh-failure.js'
import type { SshHost } from './ssh-host.js'
import { SftpFiles } from './sftp-files.js'
import { ShellFiles } from './ssh-shell.js'

/** A regular file at a host. */
export interface HostFile {
  readonly size: Bytes
  /** Nobody is expected to change it: no write permission on it. Undefined when the host does not say. */
  readonly settled?: boolean
  /** What tells it from another file in its place: its time. Undefined when the host does not say. */
  readonly version?: string
  /** How many reads at once it takes gladly. */
  readonly parallel: number
  /** The longest range worth asking in one read. */
  readonly longest: Bytes
  /** Exactly the bytes of `range`. @throws AnnexfsError UNAVAILABLE, CORRUPT (changed), TIMED_OUT, ABORTED. */
  read(range: ByteRange, demand: Demand): AsyncGenerator<Uint8Array, void, undefined>
  close(): void
}

/** Files at a host, to be read in place. */
export interface HostFiles {
  /** Bytes received so far. */
  readonly received: Bytes
  /** The regular file at `path` (bytes); undefined when there is none. @throws AnnexfsError as {@link HostFile.read}. */
  open(path: Buffer, signal: AbortSignal): Promise<HostFile | undefined>
  close(): Promise<void>
}

/**
 * Files over sftp where the host offers it, else through a shell there.
 * @param idle what is not used for so long is closed, and opened again when it is wanted.
 */
export function hostFiles(host: SshHost, log: Log, idle?: Milliseconds): HostFiles {
  const sftp = new SftpFiles(host, idle)
  let shell: ShellFiles | undefined
  let closed = false
  return {
    get received() {
      return sftp.received + (shell?.received ?? 0)
    },
    open: async (path, signal) => {
      if (closed) throw new AnnexfsError('UNAVAILABLE', `the connection to ${host.name} was closed`)
      if (shell !== undefined) return shell.open(path, signal)
      try {
        return await sftp.open(path, signal)
      } catch (error) {
        if (!lacksSubsystem(error)) throw error
        log.info('a host offers no sftp: its files are read through a shell', {
          host: host.name,
          reason: reasonOf(error),
        })
        shell ??= new ShellFiles(host, idle)
        return shell.open(path, signal)
      }
    },
    close: async () => {
      closed = true
      await Promise.all([sftp.close(), shell?.close()])
    },
  }
}
