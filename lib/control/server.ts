import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  unlinkSync,
} from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { native } from '../cache/native.js'
import { AnnexfsError, isAnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import { Connection } from './connection.js'
import { ensureControlFolder } from './folder.js'
import type { Method } from './protocol.js'

export interface ControlOptions {
  /** See `socketName`. */
  readonly name: string
  readonly methods: ReadonlyMap<string, Method>
  readonly log: Log
  /** Default: the best of `controlFolders`. */
  readonly folder?: string
  /** How long to wait for another process that has it: it may be about to end. Default: not at all. */
  readonly patience?: Milliseconds
}

export interface ControlSocket {
  readonly path: string
  close(): Promise<void>
}

/** Clients at once; more are turned away. */
const MOST_CLIENTS = 128
/** A live server answers at once: its kernel does, whatever it is busy with. */
const PROBE: Milliseconds = 1_000
const SOCKET_MODE = 0o600
const LOOK_EVERY: Milliseconds = 50

/**
 * Listens for control of this process. Whoever holds the lock beside the socket owns it: a socket that is left of a dead
 * process is replaced, one that somebody answers at never is.
 * @throws AnnexfsError SYSTEM when there is no folder for it, or another process has it.
 */
export async function startControl(options: ControlOptions): Promise<ControlSocket> {
  const { name, methods, log, folder, patience = 0 } = options
  const path = join(folder ?? ensureControlFolder(), name)
  const lock = await takeLockWithin(patience, `${path}.lock`, path)
  try {
    // Somebody may have removed the lock of a live one.
    if (await isAnswered(path)) throw taken(path)
    const clients = new Set<Connection>()
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const client = new Connection(socket, methods)
      clients.add(client)
      socket.on('close', () => clients.delete(client))
    })
    server.maxConnections = MOST_CLIENTS
    server.on('error', (error) => log.warn('the control socket has failed', { path, reason: reasonOf(error) }))
    const own = await listen(server, path)
    log.debug('control socket', { path })
    return {
      path,
      close: async () => {
        for (const client of clients) client.close()
        if (inodeOf(path) === own) unlinkIfThere(path)
        await new Promise<void>((resolve) => server.close(() => resolve()))
        unlinkIfThere(`${path}.lock`)
        closeSync(lock)
      },
    }
  } catch (error) {
    closeSync(lock)
    throw error
  }
}

/** Under another name first, so that the socket never is there with a wider mode, nor missing while it is replaced. */
async function listen(server: Server, path: string): Promise<number> {
  const made = `${path}.new`
  rmSync(made, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(made, () => {
      server.off('error', reject)
      resolve()
    })
  })
  try {
    chmodSync(made, SOCKET_MODE)
    renameSync(made, path)
  } catch (error) {
    server.close()
    throw error
  }
  // It must not keep a process alive whose mount has gone.
  server.unref()
  return inodeOf(path) ?? 0
}

async function takeLockWithin(patience: Milliseconds, path: string, socket: string): Promise<number> {
  const end = performance.now() + patience
  for (;;) {
    try {
      return takeLock(path, socket)
    } catch (error) {
      // Whatever else is wrong will not pass.
      if (!isAnnexfsError(error) || performance.now() >= end) throw error
      await sleep(LOOK_EVERY)
    }
  }
}

/** Opened, locked, and still the one that has the name. */
function takeLock(path: string, socket: string): number {
  for (;;) {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, SOCKET_MODE)
    try {
      if (!native.tryLock(fd)) throw taken(socket)
      if (fstatSync(fd).nlink > 0) return fd
    } catch (error) {
      closeSync(fd)
      throw error
    }
    closeSync(fd)
  }
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const end = (answered: boolean): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(answered)
    }
    const timer = setTimeout(() => end(true), PROBE)
    socket.once('connect', () => end(true))
    // ENOENT: there is none; ECONNREFUSED: nobody listens any more. Of others nobody knows, so they stay.
    socket.once('error', (error) => end(!['ENOENT', 'ECONNREFUSED'].includes(systemCode(error) ?? '')))
  })
}

function taken(path: string): AnnexfsError {
  return new AnnexfsError('SYSTEM', `another process answers at ${path}`)
}

function inodeOf(path: string): number | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.ino
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}
