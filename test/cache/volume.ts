import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync, rmSync } from 'node:fs'
import { mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { closeStores } from './support.js'

interface Test {
  after(done: () => Promise<void>): void
}

/** A file system of the test's own. */
export interface Volume {
  /** A folder on it, for the cache. */
  readonly folder: string
  readonly mountPoint: string
}

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 })
}

/** A memory file system of `megabytes`, unmounted when the test ends. */
export async function memoryVolume(t: Test, megabytes: number): Promise<Volume> {
  const mountPoint = await mkdtemp(join(tmpdir(), 'annexfs-volume-'))
  run('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m`, 'annexfs-test', mountPoint)
  t.after(async () => {
    await closeStores(t)
    unmount(mountPoint)
    rmdirSync(mountPoint)
  })
  const folder = join(mountPoint, 'cache')
  await mkdir(folder)
  return { folder, mountPoint }
}

/** Why there can be no loop-mounted ext4 here, or undefined when there can. */
export function whyNoDisk(): string | undefined {
  const probe = mkdtempSync(join(tmpdir(), 'annexfs-probe-'))
  try {
    if (process.getuid?.() !== 0) return 'needs root'
    for (const tool of ['mkfs.ext4', 'losetup', 'mount', 'python3']) {
      if (spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0) return `needs ${tool}`
    }
    if (spawnSync('losetup', ['-f']).status !== 0) return 'needs a free loop device'
    return undefined
  } finally {
    rmdirSync(probe)
  }
}

/** An ext4 in a file, whose power can be cut. */
export class Disk implements Volume {
  readonly mountPoint: string
  readonly folder: string
  readonly #image: string
  readonly #options: string
  #device = ''

  constructor(t: Test, megabytes: number, options = 'rw') {
    this.#options = options
    this.mountPoint = mkdtempSync(join(tmpdir(), 'annexfs-volume-'))
    this.folder = join(this.mountPoint, 'cache')
    this.#image = `${this.mountPoint}.ext4`
    t.after(async () => {
      await closeStores(t)
      this.unmount()
      rmSync(this.mountPoint, { recursive: true, force: true })
      rmSync(this.#image, { force: true })
    })
    run('truncate', '-s', `${megabytes}M`, this.#image)
    run('mkfs.ext4', '-q', '-F', this.#image)
  }

  mount(): void {
    this.#device = run('losetup', '-f', '--show', this.#image).trim()
    run('mount', '-t', 'ext4', '-o', this.#options, this.#device, this.mountPoint)
  }

  /** Lazily: also while files on it are open; the device is released when they are closed. */
  unmount(how: 'now' | 'lazily' = 'now'): void {
    if (this.#device === '') return
    if (how === 'lazily') run('umount', '-l', this.mountPoint)
    else unmount(this.mountPoint)
    run('losetup', '-d', this.#device)
    this.#device = ''
  }

  /** True while the image still has a device. */
  isAttached(): boolean {
    return run('losetup', '-j', this.#image).trim() !== ''
  }

  /** The name of the block device, such as `loop0`. */
  get device(): string {
    return this.#device.replace('/dev/', '')
  }

  /** As if the power failed: nothing more is written, and what was not flushed is lost (EXT4_IOC_SHUTDOWN, NOLOGFLUSH). */
  cutPower(): void {
    const script =
      'import fcntl, os, struct, sys\n' +
      'fd = os.open(sys.argv[1], os.O_RDONLY)\n' +
      'fcntl.ioctl(fd, 0x8004587d, struct.pack("I", 2))\n'
    run('python3', '-c', script, this.mountPoint)
  }
}

function unmount(mountPoint: string): void {
  const plain = spawnSync('umount', [mountPoint])
  if (plain.status !== 0) spawnSync('umount', ['-l', mountPoint])
}
