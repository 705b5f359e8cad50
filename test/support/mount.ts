import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Volume } from '../../lib/engine/volume.js'
import { unmountPath } from '../../lib/fuse/unmount.js'
import { isAnnexfsMount, mountAt, mountTable } from '../../lib/fuse/mount-table.js'

/** A module that {@link mountInChild} can load: makes the volume inside the child process. */
export interface VolumeModule {
  makeVolume(argument: unknown): MadeVolume | Promise<MadeVolume>
}

export interface MadeVolume {
  readonly volume: Volume
  /** Does what the test tells it to; arguments and results are JSON. */
  command?(command: string, argument: unknown): unknown
}

export interface ChildStart {
  readonly module: string
  readonly argument: unknown
  readonly mountpoint: string
  readonly name: string
  readonly allowOther: boolean
  readonly readTimeout: number
}

export interface ChildMount {
  readonly path: string
  readonly pid: number
  readonly process: ChildProcess
  /** Everything the child logged so far. */
  log(): string
  command<T = unknown>(command: string, argument?: unknown): Promise<T>
  /** Asks the child to unmount and waits for its end; resolves to its exit code. */
  stop(): Promise<number | null>
}

/**
 * Mounts the volume of the module at `url` in a child process, for a test must not read a mount of its own process. It
 * is unmounted and the child is gone when the test `t` ends, however it ends.
 */
export async function mountInChild(
  t: Pick<TestContext, 'after'>,
  url: URL | string,
  argument: unknown,
  options: Partial<Omit<ChildStart, 'module' | 'argument'>> & { env?: NodeJS.ProcessEnv } = {},
): Promise<ChildMount> {
  const folder = options.mountpoint === undefined ? await mkdtemp(join(tmpdir(), 'annexfs-test-')) : undefined
  const path = folder === undefined ? (options.mountpoint ?? '') : join(folder, 'mount')
  await mkdir(path, { recursive: true })
  const start: ChildStart = {
    module: String(url),
    argument,
    mountpoint: path,
    name: options.name ?? 'annexfs-test',
    allowOther: options.allowOther ?? false,
    readTimeout: options.readTimeout ?? 20_000,
  }
  const child = fork(fileURLToPath(new URL('./mount-child.js', import.meta.url)), [JSON.stringify(start)], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    env: { ...process.env, UV_THREADPOOL_SIZE: '16', MALLOC_ARENA_MAX: '2', ...options.env },
  })
  let logged = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    logged = (logged + text).slice(-1_000_000)
  })
  const exited = once(child, 'exit')
  t.after(async () => {
    await takeAway(child, exited, path)
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  })
  await readiness(child, () => logged)

  let next = 0
  const command = async <T>(name: string, value?: unknown): Promise<T> => {
    const id = next++
    const reply = new Promise<T>((resolve, reject) => {
      const onMessage = (message: { id?: number; value?: T; error?: string }): void => {
        if (message.id !== id) return
        child.off('message', onMessage)
        if (message.error === undefined) resolve(message.value as T)
        else reject(new Error(message.error))
      }
      child.on('message', onMessage)
      exited.then(
        () => reject(new Error(`the mount process ended: ${logged}`)),
        () => undefined,
      )
    })
    child.send({ id, command: name, argument: value })
    return reply
  }
  const stop = async (): Promise<number | null> => {
    child.kill('SIGTERM')
    await exited
    return child.exitCode
  }
  return { path, pid: child.pid ?? 0, process: child, log: () => logged, command, stop }
}

/** True while an annexfs is mounted at `path`. */
export async function isMountedAt(path: string): Promise<boolean> {
  const entry = mountAt(await mountTable(), path)
  return entry !== undefined && isAnnexfsMount(entry)
}

async function readiness(child: ChildProcess, log: () => string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.once('message', (message: { ready?: boolean; failed?: string }) => {
      if (message.ready === true) resolve()
      else reject(new Error(`${message.failed ?? 'no mount'}\n${log()}`))
    })
    child.once('exit', (code) => reject(new Error(`the mount process ended with ${String(code)}: ${log()}`)))
  })
}

/** Politely first, then by force; at the end neither mount nor process is left. */
async function takeAway(child: ChildProcess, exited: Promise<unknown>, path: string): Promise<void> {
  const running = (): boolean => child.exitCode === null && child.signalCode === null
  if (running()) {
    child.kill('SIGTERM')
    await Promise.race([exited, sleep(30_000, undefined, { ref: false })])
  }
  if (running()) {
    child.kill('SIGKILL')
    await exited
  }
  for (let layer = 0; layer < 8 && (await isMountedAt(path)); layer++) await unmountPath(path)
}
