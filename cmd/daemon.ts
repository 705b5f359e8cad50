import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, fchmodSync, ftruncateSync, fstatSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AnnexfsError, reasonOf } from '../lib/errors.js'
import { withoutSecrets } from '../lib/log/secrets.js'
import { EXIT } from './exit-codes.js'
import { tellServiceManager } from './readiness.js'

/** A log that has grown beyond this is started afresh with the next start. */
const MOST_LOG = 10 * 1024 * 1024

/** In the environment of a process that is told its arguments. */
const TOLD = 'ANNEXFS_TOLD_ARGUMENTS'

/** What is to go on in the background. */
export interface DaemonOptions {
  readonly command: 'mount' | 'serve'
  /** All that was given to the command. */
  readonly argv: readonly string[]
  /** Names the log: those who have the same one write to the same file. */
  readonly log: string
  /** What everybody sees it is for: its command line. */
  readonly shown: string
}

/**
 * Runs the command without --daemon in a process of its own and returns when that answers: 0 then, else its exit code,
 * after showing what it said. What it gave to {@link tellReady} is printed. Its log goes to a file in the user's state
 * folder.
 */
export async function startDaemon({ command, argv, log: name, shown }: DaemonOptions): Promise<number> {
  const path = logFile(name)
  const log = openSync(path, 'a', 0o600)
  fchmodSync(log, 0o600)
  if (fstatSync(log).size > MOST_LOG) ftruncateSync(log, 0)
  const before = fstatSync(log).size
  const end = argv.indexOf('--')
  const own = argv.filter((argument, index) => !/^--daemon(=|$)/.test(argument) || (end >= 0 && index > end))
  const child = spawn(process.execPath, [entry(), command, withoutSecrets(shown)], {
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
    // Threads of libfuse come and go; an arena of malloc for each would stay (native-notes.md).
    env: { MALLOC_ARENA_MAX: '2', ...process.env, [TOLD]: '1' },
  })
  closeSync(log)
  child.send([command, ...own], () => undefined)
  let address = ''
  const code = await new Promise<number>((resolve) => {
    child.once('message', (message) => {
      if (typeof message === 'string') address = message
      resolve(EXIT.ok)
    })
    child.once('exit', (status) => resolve(status ?? EXIT.failed))
    child.once('error', () => resolve(EXIT.system))
  })
  const said = readFileSync(path).subarray(before).toString('utf8')
  if (code !== EXIT.ok) {
    process.stderr.write(said)
    return code
  }
  process.stderr.write(`${said}annexfs: process ${child.pid ?? '?'}, log in ${path}\n`)
  if (address !== '') process.stdout.write(`${address}\n`)
  child.disconnect()
  child.unref()
  return EXIT.ok
}

/**
 * The arguments of this process: of one that {@link startDaemon} started those that it tells, for everybody can see the command
 * line of a process for as long as it lives, and passwords may be among them.
 */
export async function givenArguments(): Promise<readonly string[]> {
  if (process.env[TOLD] === undefined || process.send === undefined) return process.argv.slice(2)
  delete process.env[TOLD]
  return new Promise((resolve, reject) => {
    const onGone = (): void => reject(new AnnexfsError('ABORTED', 'the process that started this one has ended'))
    process.once('disconnect', onGone)
    process.once('message', (told: unknown) => {
      process.off('disconnect', onGone)
      resolve(Array.isArray(told) ? told.map(String) : [])
    })
  })
}

/**
 * Tells the process that waits for this one, and the service manager, if there are any, that it answers.
 * @param address what who started it is to be told.
 */
export async function tellReady(address = ''): Promise<void> {
  await tellServiceManager()
  if (process.send === undefined) return
  await new Promise<void>((resolve) => {
    process.send?.(address, () => resolve())
  })
  if (process.connected) process.disconnect()
}

function logFile(name: string): string {
  const xdg = process.env['XDG_STATE_HOME']
  const state = xdg !== undefined && xdg.startsWith('/') ? xdg : join(homedir(), '.local', 'state')
  const folder = join(state, 'annexfs')
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  } catch (error) {
    const what = `cannot make the folder ${folder} for the log: ${reasonOf(error)}; set XDG_STATE_HOME to another`
    throw new AnnexfsError('SYSTEM', what, { cause: error })
  }
  return join(folder, `${createHash('sha256').update(name).digest('hex').slice(0, 16)}.log`)
}

function entry(): string {
  return fileURLToPath(new URL('./annexfs.cjs', import.meta.url))
}
