import { execFile, spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { reasonOf } from '../lib/errors.js'

export const runProgram = promisify(execFile)

/** How long a program may take to end when it is asked to. */
const GRACE = 10_000

export interface Started {
  readonly process: ChildProcess
  readonly pid: number
  /** The end of what it wrote to standard error. */
  said(): string
  ended(): boolean
  stop(): Promise<void>
}

/**
 * Everything that a run of the benchmark leaves on the machine while it runs: folders, processes, mounts. All of it is
 * gone after {@link close}, which is also called on Ctrl-C.
 */
export class Lab {
  readonly folder: string
  readonly #undo: (() => Promise<void>)[] = []
  #closing: Promise<void> | undefined

  private constructor(folder: string) {
    this.folder = folder
  }

  static async open(): Promise<Lab> {
    const folder = await mkdtemp(join(tmpdir(), 'annexfs-bench-'))
    const lab = new Lab(folder)
    lab.onClose(() => removeFolder(folder))
    return lab
  }

  /** True once the end has begun: whatever fails from now on fails because of it. */
  get closing(): boolean {
    return this.#closing !== undefined
  }

  onClose(undo: () => Promise<void>): void {
    this.#undo.push(undo)
  }

  /** A new folder that is removed at the end. */
  async folderFor(name: string, parent = this.folder): Promise<string> {
    const folder = await mkdtemp(join(parent, `${parent === this.folder ? '' : 'annexfs-bench-'}${name}-`))
    if (parent !== this.folder) this.onClose(() => removeFolder(folder))
    return folder
  }

  /** Starts a program in a process group of its own, so that Ctrl-C reaches us alone; it ends with us at the latest. */
  start(argv: readonly string[], options: { stdio?: StdioOptions; env?: NodeJS.ProcessEnv } = {}): Started {
    if (this.closing) throw new Error('the benchmark was stopped')
    const [program = '', ...args] = argv
    const child = spawn(program, args, {
      detached: true,
      stdio: options.stdio ?? ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...options.env },
      cwd: this.folder,
    })
    let said = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4000)
    })
    const end = new Promise<void>((resolve) => {
      child.once('error', (error) => {
        said += error.message
        resolve()
      })
      child.once('exit', () => resolve())
    })
    const ended = (): boolean => child.pid === undefined || child.exitCode !== null || child.signalCode !== null
    const stop = async (): Promise<void> => {
      if (!ended()) child.kill('SIGTERM')
      await Promise.race([end, sleep(GRACE, undefined, { ref: false })])
      if (!ended()) child.kill('SIGKILL')
      await end
    }
    this.onClose(stop)
    return { process: child, pid: child.pid ?? -1, said: () => said.trim(), ended, stop }
  }

  /** The last made is the first undone. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    for (const undo of this.#undo.reverse()) {
      try {
        await undo()
      } catch (error) {
        process.stderr.write(`bench: could not clean up: ${reasonOf(error)}\n`)
      }
    }
  }
}

/** True while something is mounted at `path`. */
export async function isMounted(path: string): Promise<boolean> {
  const table = await readFile('/proc/self/mountinfo', 'latin1')
  return table.includes(` ${path} `)
}

/** Unmounts `path` if anything is mounted there; by force at last. */
export async function unmount(path: string): Promise<void> {
  for (let tries = 0; await isMounted(path); tries++) {
    const lazy = tries > 10
    const argv = process.getuid?.() === 0 ? ['umount', ...(lazy ? ['-l'] : [])] : ['fusermount3', '-u']
    const [program = '', ...args] = argv
    try {
      await runProgram(program, [...args, path], { timeout: GRACE })
    } catch (error) {
      if (tries > 12) throw error
      await sleep(100)
    }
  }
}

async function removeFolder(folder: string): Promise<void> {
  // git-annex takes the write bits of its objects and their folders.
  await runProgram('chmod', ['-R', 'u+w', folder])
  await rm(folder, { recursive: true, force: true })
}

export async function makeFolder(...parts: string[]): Promise<string> {
  const folder = join(...parts)
  await mkdir(folder, { recursive: true })
  return folder
}
