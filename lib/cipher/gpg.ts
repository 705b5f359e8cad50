import { spawn, type ChildProcess } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { abortError, AnnexfsError, reasonOf, systemCode, throwIfAborted } from '../errors.js'
import { plainEnvironment } from '../git/environment.js'
import { killGroup } from '../git/process.js'
import { checkOutcome } from './gpg-status.js'

export interface GpgRun {
  readonly program: string
  /** Before `--decrypt`; the descriptors are added here. */
  readonly args: readonly string[]
  /** Given through a pipe. */
  readonly passphrase?: Buffer
  readonly input: AsyncIterable<Uint8Array>
  /** Takes the plaintext, which is worth nothing before the run has succeeded. */
  readonly output: (bytes: Uint8Array) => Promise<void>
  readonly signal: AbortSignal
}

const STATUS_FD = 3
const PASSPHRASE_FD = 4
const LONGEST_STATUS = 64 * 1024
const LONGEST_COMPLAINTS = 16 * 1024

/** Those that run, to be ended with this process. */
const running = new Set<ChildProcess>()
let endsWithUs = false

/**
 * Decrypts `input` by one gpg process, which is gone when this returns or throws.
 * @throws AnnexfsError CORRUPT, UNAVAILABLE (see {@link checkOutcome}), SYSTEM when gpg cannot be run, ABORTED or
 * TIMED_OUT by the signal; and what `input` and `output` throw.
 */
export async function runGpg(run: GpgRun): Promise<void> {
  const { program, signal, passphrase } = run
  throwIfAborted(signal)
  const descriptors = ['--status-fd', String(STATUS_FD)]
  if (passphrase !== undefined) descriptors.push('--passphrase-fd', String(PASSPHRASE_FD))
  // A process group of its own, without a terminal: it cannot ask a question there, and all of it can be ended.
  const child = spawn(program, [...run.args, ...descriptors, '--decrypt'], {
    env: gpgEnvironment(),
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', passphrase === undefined ? 'ignore' : 'pipe'],
    detached: true,
  })
  const notStarted = new Promise<Error>((resolve) => child.once('error', resolve))
  if (child.pid === undefined) throw cannotRun(program, await notStarted)
  endWithUs(child)
  let failure: { readonly error: unknown } | undefined
  const end = (error: unknown): void => {
    failure ??= { error }
    killGroup(child)
  }
  const onAbort = (): void => end(abortError(signal))
  signal.addEventListener('abort', onAbort, { once: true })
  const closed = new Promise<number | null>((resolve) => child.once('close', resolve))
  const [stdin, stdout, stderr, status, secret] = child.stdio as [Writable, Readable, Readable, Readable, Writable?]
  // EPIPE: gpg ended without reading; its exit code says why.
  for (const pipe of [stdin, secret]) pipe?.on('error', () => undefined)
  if (passphrase !== undefined) secret?.end(Buffer.concat([passphrase, Buffer.from('\n')]))
  try {
    const said = collected(status, LONGEST_STATUS, () => end(new AnnexfsError('CORRUPT', 'gpg found too many parts')))
    const complaints = collected(stderr, LONGEST_COMPLAINTS, () => undefined)
    const feeding = feed(stdin, run.input, closed).catch(end)
    const draining = drain(stdout, run.output).catch(end)
    const exitCode = await closed
    await Promise.all([feeding, draining])
    if (failure !== undefined) throw failure.error
    checkOutcome({ status: said(), complaints: complaints(), exitCode, usesKeys: passphrase === undefined }, 'gpg')
  } finally {
    signal.removeEventListener('abort', onAbort)
    running.delete(child)
  }
}

/** The user's own without secrets of other programs, with messages in English. */
function gpgEnvironment(): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = { ...plainEnvironment(), LC_ALL: 'C.UTF-8' }
  delete environment['LANGUAGE']
  return environment
}

function endWithUs(child: ChildProcess): void {
  running.add(child)
  if (endsWithUs) return
  endsWithUs = true
  process.once('exit', () => running.forEach(killGroup))
}

function collected(from: Readable, most: number, onMore: () => void): () => string {
  const parts: Buffer[] = []
  let length = 0
  from.on('error', () => undefined)
  from.on('data', (part: Buffer) => {
    length += part.length
    if (length <= most) parts.push(part)
    else onMore()
  })
  return () => Buffer.concat(parts).toString('utf8')
}

async function feed(stdin: Writable, input: AsyncIterable<Uint8Array>, closed: Promise<unknown>): Promise<void> {
  const iterator = input[Symbol.asyncIterator]()
  const ended = closed.then(() => undefined)
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), ended])
      if (next === undefined || next.done === true) break
      const failed = await new Promise<boolean>((resolve) => {
        stdin.write(next.value, (error) => resolve(error !== null && error !== undefined))
      })
      if (failed) break
    }
  } finally {
    stdin.end()
    // Not waited for: it may hang in the store, which has its own deadline.
    iterator.return?.().catch(() => undefined)
  }
}

async function drain(stdout: Readable, output: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  for await (const bytes of stdout) await output(bytes as Uint8Array)
}

function cannotRun(program: string, error: unknown): AnnexfsError {
  const absent = systemCode(error) === 'ENOENT'
  const advice = absent ? 'install GnuPG (apt install gnupg), or set gpg.program in the git configuration' : ''
  return new AnnexfsError('SYSTEM', `cannot run ${program} to decrypt: ${absent ? advice : reasonOf(error)}`, {
    cause: error,
  })
}
