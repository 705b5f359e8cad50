import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { unmountPath } from '../../lib/fuse/unmount.js'
import { isMountedAt } from './mount.js'
import { temporaryFolder } from './temp.js'

/** The real program, run as its users run it: `node dist/cmd/annexfs.cjs`. */
export const PROGRAM = fileURLToPath(new URL('../../cmd/annexfs.cjs', import.meta.url))

/** Nothing of a test may look for peers outside this machine, and a test's cache may fill what little disk there is. */
export const AT_HOME: readonly string[] = atHome()

function atHome(minFree = '1MiB'): readonly string[] {
  return ['--no-dht', '--no-lsd', '--no-pex', '--no-trackers', `--min-free=${minFree}`]
}

type Context = Pick<TestContext, 'after'>

export interface SessionOptions {
  /** Default: a new folder. One that a session made before may be given again. */
  readonly mountpoint?: string
  /** What the new folder is called. */
  readonly name?: string
  /** Default: a new folder. */
  readonly cache?: string
  /** Free space that is left on the disk of the cache; default: a little. */
  readonly minFree?: string
  /** More arguments of `annexfs mount`. */
  readonly options?: readonly string[]
  readonly env?: NodeJS.ProcessEnv
}

export interface MountSession {
  /** The mount point. */
  readonly path: string
  readonly cache: string
  readonly process: ChildProcess
  /** What it wrote to standard error so far. */
  log(): string
  /** The first line of the log that matches, as soon as there is one; throws after `timeout` ms. */
  logged(pattern: RegExp, timeout?: number): Promise<string>
  /** Unmounts by SIGTERM and waits for the end; the exit code. */
  stop(): Promise<number | null>
  /** Kills it, leaving a dead mount behind. */
  kill(): Promise<void>
  /** Mounts the same at the same place with the same cache. */
  again(options?: readonly string[]): Promise<MountSession>
}

/** An environment without the user's own settings, whose home is `home`. */
export function homeOf(home: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    HOME: home,
    XDG_CACHE_HOME: join(home, '.cache'),
    XDG_STATE_HOME: join(home, '.state'),
    GIT_CONFIG_NOSYSTEM: '1',
    LC_ALL: 'C.UTF-8',
  }
}

/**
 * `annexfs mount SOURCES` in a process of its own; returns when it answers. Unmounted, and the process gone, when the
 * test ends, however it ends.
 * @throws Error with its log when it ends instead.
 */
export async function mountSession(
  t: Context,
  sources: readonly string[],
  given: SessionOptions = {},
): Promise<MountSession> {
  const home = await mkdtemp(join(tmpdir(), 'annexfs-test-'))
  const path = given.mountpoint ?? join(home, given.name ?? 'mount')
  const cache = given.cache ?? join(home, 'cache')
  await mkdir(path, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
    // A dead mount of a killed session is there to be cleared.
    if (error.code !== 'EEXIST' && error.code !== 'ENOTCONN') throw error
  })
  const child = spawn(
    process.execPath,
    [
      PROGRAM,
      'mount',
      '--cache-dir',
      cache,
      ...atHome(given.minFree),
      ...(given.options ?? []),
      '--',
      ...sources,
      path,
    ],
    { cwd: home, env: { ...homeOf(home), ...given.env }, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] },
  )
  let log = ''
  const watchers = new Set<() => void>()
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-1_000_000)
    for (const look of Array.from(watchers)) look()
  })
  const exited = once(child, 'exit')
  // One hook: hooks run in the order in which they were made, and nothing may be removed under a mount.
  t.after(async () => {
    await takeAway(child, exited, path)
    await rm(home, { recursive: true, force: true })
    // Whatever a test is about: the program never shows its inside.
    if (/\n\s+at .*:\d+:\d+|Unhandled|FATAL ERROR/.test(log)) throw new Error(`the mount showed a stack: ${log}`)
  })
  await new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve())
    child.once('close', (code, signal) => reject(new Error(`the mount ended with ${code ?? String(signal)}: ${log}`)))
  })
  return {
    path,
    cache,
    process: child,
    log: () => log,
    logged: (pattern, timeout = 60_000) =>
      new Promise((resolve, reject) => {
        const end = (): void => {
          clearTimeout(timer)
          watchers.delete(look)
        }
        const look = (): void => {
          const line = log.split('\n').find((one) => pattern.test(one))
          if (line === undefined) return
          end()
          resolve(line)
        }
        const timer = setTimeout(() => {
          end()
          reject(new Error(`the mount did not log ${String(pattern)} within ${timeout} ms: ${log}`))
        }, timeout)
        watchers.add(look)
        look()
      }),
    stop: async () => {
      child.kill('SIGTERM')
      await exited
      return child.exitCode
    },
    kill: async () => {
      child.kill('SIGKILL')
      await exited
    },
    again: (options = given.options ?? []) => mountSession(t, sources, { ...given, mountpoint: path, cache, options }),
  }
}

export interface CommandResult {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** Runs `annexfs ARGUMENTS` to its end; killed, and the test failed, after `timeout` ms. */
export async function annexfs(
  t: Context,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; timeout?: number; program?: string } = {},
): Promise<CommandResult> {
  const home = await temporaryFolder(t)
  return runProgram(process.execPath, [options.program ?? PROGRAM, ...args], {
    env: { ...homeOf(home), ...options.env },
    cwd: options.cwd ?? home,
    timeout: options.timeout ?? 120_000,
  })
}

/** Runs a program to its end; killed, and the promise rejected, after `timeout` ms. */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; timeout?: number } = {},
): Promise<CommandResult> {
  const { timeout = 120_000 } = options
  const child = spawn(program, args, {
    ...(options.env !== undefined && { env: options.env }),
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output: Buffer[] = []
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  let late = false
  const timer = setTimeout(() => {
    late = true
    child.kill('SIGKILL')
  }, timeout)
  try {
    await once(child, 'close')
  } finally {
    clearTimeout(timer)
  }
  if (late) throw new Error(`${program} ${args.join(' ')} did not end within ${timeout} ms: ${stderr}`)
  return { code: child.exitCode, stdout: Buffer.concat(output), stderr }
}

/** `promise`, or an error after `timeout` ms: a mount that hangs must fail a test, not hang it. */
export async function within<T>(timeout: number, what: string, promise: Promise<T>): Promise<T> {
  const over = new AbortController()
  try {
    return await Promise.race([
      promise,
      sleep(timeout, undefined, { signal: over.signal }).then(() => {
        throw new Error(`${what} took longer than ${timeout} ms`)
      }),
    ])
  } finally {
    over.abort()
  }
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
