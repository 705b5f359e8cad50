import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { StoreContext } from './context.js'
import { destination, login, type SshAddress } from './ssh-address.js'
import { SshChannel } from './ssh-channel.js'
import {
  masterInvocation,
  sshEnvironment,
  sshInvocation,
  sshSettings,
  type Remote,
  type SshSettings,
} from './ssh-program.js'

/** A unix socket's path has 107 bytes at most, of which ssh needs 17 for the temporary name it starts with. */
const LONGEST_SOCKET: Bytes = 90
/** A host that is silent for so long will not answer any more. */
const PATIENCE: Milliseconds = 30_000
const MASTER_RUNS = /pid=\d+/
/** For ending a shared connection. */
const ENDING: Milliseconds = 3_000

/**
 * One host, reached by the user's own ssh. Several channels share one connection to it (a ControlMaster of our own,
 * unless `annex.sshcaching` is false). The master is a process of ssh in the background: `close` ends it, and if we are
 * killed it ends by itself seconds after the last channel.
 */
export class SshHost {
  readonly settings: SshSettings
  readonly address: SshAddress
  readonly #folder: string
  readonly #channels = new Set<SshChannel>()
  #socket: Promise<Socket | undefined> | undefined
  #closed = false

  private constructor(settings: SshSettings, address: SshAddress, folder: string) {
    this.settings = settings
    this.address = address
    this.#folder = folder
  }

  /** Reads the user's settings; connects to nothing yet. @throws AnnexfsError SYSTEM, INVALID. */
  static async of(context: StoreContext, address: SshAddress): Promise<SshHost> {
    return new SshHost(await sshSettings(context), address, context.folder)
  }

  get name(): string {
    return destination(this.address)
  }

  /** Runs `remote` at the host. @throws AnnexfsError SYSTEM, UNSUPPORTED; the channel tells what else fails. */
  async run(remote: Remote, what: string, patience: Milliseconds = PATIENCE): Promise<SshChannel> {
    const socket = await this.#sharedSocket()
    if (this.#closed) throw new AnnexfsError('UNAVAILABLE', `the connection to ${this.name} was closed`)
    const invocation = sshInvocation(this.settings, this.address, remote, socket?.path)
    const channel = new SshChannel({ invocation, host: this.name, login: login(this.address), what, patience })
    this.#channels.add(channel)
    channel.gone.then(
      () => this.#channels.delete(channel),
      () => this.#channels.delete(channel),
    )
    return channel
  }

  /** Whether a shared connection is there and answers. */
  async connected(): Promise<boolean> {
    // One that could not be made is not.
    const socket = await this.#socket?.catch(() => undefined)
    return socket !== undefined && MASTER_RUNS.test(await this.#ask(socket.path, 'check'))
  }

  /** Ends a shared connection that may be dead, so that the next channel makes a new one. */
  async reconnect(): Promise<void> {
    const socket = this.#socket
    this.#socket = undefined
    await this.#endMaster(socket)
  }

  /** Ends all channels and the shared connection; resolves when their processes are gone. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#channels].map((channel) => channel.close()))
    await this.reconnect()
  }

  async #sharedSocket(): Promise<Socket | undefined> {
    if (!this.settings.caching || this.settings.variant !== 'ssh') return undefined
    this.#socket ??= socketIn(this.#folder)
    return this.#socket
  }

  async #endMaster(pending: Promise<Socket | undefined> | undefined): Promise<void> {
    // One that could not be made has no master.
    const socket = await pending?.catch(() => undefined)
    if (socket === undefined) return
    await this.#ask(socket.path, 'exit')
    const until = performance.now() + ENDING
    for (;;) {
      const masters = await mastersOf(socket.path)
      if (masters.length === 0) break
      // Also one that cannot be spoken to: the folder with its socket may have been removed.
      const left = until - performance.now()
      for (const pid of masters) signal(pid, left > 0 ? 'SIGTERM' : 'SIGKILL')
      if (left < -ENDING) break
      await sleep(20)
    }
    await rm(socket.temporary ?? socket.path, { recursive: true, force: true })
  }

  /** What the master says; empty when there is none. */
  #ask(socket: string, request: 'check' | 'exit'): Promise<string> {
    const { file, args } = masterInvocation(this.settings, this.address, socket, request)
    return new Promise((resolve) => {
      const options = { timeout: ENDING, env: sshEnvironment(), maxBuffer: 65_536, killSignal: 'SIGKILL' } as const
      execFile(file, args, options, (_error, output, complaint) => resolve(output + complaint))
    })
  }
}

interface Socket {
  readonly path: string
  /** A folder made for it alone. */
  readonly temporary?: string
}

async function socketIn(folder: string): Promise<Socket> {
  // Two mounts may share the folder: each has a connection of its own, so that one can end it without the other.
  const name = randomBytes(6).toString('hex')
  const path = join(folder, name)
  // ssh would expand `${…}` in it.
  if (Buffer.byteLength(path) <= LONGEST_SOCKET && !path.includes('${')) {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    return { path }
  }
  try {
    const temporary = await mkdtemp(join(tmpdir(), 'annexfs-ssh-'))
    return { path: join(temporary, name), temporary }
  } catch (error) {
    throw new AnnexfsError('SYSTEM', `no folder can be made for an ssh socket: ${reasonOf(error)}`, { cause: error })
  }
}

/** Masters behind `socket`, which they name in their title (its name is random, and ours alone). */
async function mastersOf(socket: string): Promise<readonly number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    // Gone meanwhile, or hidden from us and so not ours.
    const title = await readFile(`/proc/${name}/cmdline`, 'latin1').catch(() => '')
    if (title.startsWith('ssh') && title.includes(socket)) found.push(Number(name))
  }
  return found
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error
  }
}
