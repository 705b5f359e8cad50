import { join } from 'node:path'
import { ANNEXFS, type Contestant } from './mounts.js'

/** Servers of the benchmark are on loopback, which URLs of a repository may not reach otherwise. */
export const LOOPBACK: readonly string[] = ['--allow-address', '127.0.0.0/8']

/** One peer, and nobody else. */
export function onlyPeer(address: string): readonly string[] {
  return ['--peer', address, '--no-dht', '--no-lsd', '--no-pex', '--no-trackers']
}

export const RCLONE_SETTINGS = '--vfs-cache-mode full --read-only, all else as it comes'

export interface ContestantSpec extends Pick<Contestant, 'settings' | 'file'> {
  readonly source: string
  readonly options?: readonly string[]
  /** A command that runs it elsewhere: in a network namespace. */
  readonly within?: readonly string[]
}

export function annexfs({ settings, file, source, options = [], within = [] }: ContestantSpec): Contestant {
  return {
    name: 'annexfs',
    settings,
    file,
    command: ({ mountpoint, cache }) => [
      ...within,
      process.execPath,
      ANNEXFS,
      'mount',
      source,
      mountpoint,
      '--cache-dir',
      cache,
      ...options,
      '--log-level',
      'warn',
    ],
  }
}

/** `source`: a folder, or the URL of a web server that lists what it has. */
export function rclone({ settings, file, source }: Pick<ContestantSpec, 'settings' | 'file' | 'source'>): Contestant {
  const remote = /^https?:/.test(source) ? [':http:', '--http-url', source] : [source]
  return {
    name: 'rclone mount',
    settings,
    file,
    command: ({ mountpoint, cache, home }) => [
      'rclone',
      'mount',
      ...remote.slice(0, 1),
      mountpoint,
      ...remote.slice(1),
      '--vfs-cache-mode',
      'full',
      '--read-only',
      '--cache-dir',
      cache,
      '--config',
      join(home, 'rclone.conf'),
    ],
  }
}
