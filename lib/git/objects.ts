import { spawn } from 'node:child_process'
import { AnnexfsError, abortError, reasonOf } from '../errors.js'
import { printable, type Log } from '../log/log.js'
import { oneLine } from '../log/one-line.js'
import { BatchProcess, type Answer } from './batch.js'
import { gitEnvironment, killGroup } from './process.js'
import { started } from '../started.js'

export interface ObjectInfo {
  /** Hexadecimal, 40 or 64 digits. */
  readonly sha: string
  readonly type: string
  /** In bytes. */
  readonly size: number
}

export interface GitObject extends ObjectInfo {
  readonly bytes: Buffer
}

/** Longest rev that is passed on. */
const LONGEST_REV = 4096

/** Bytes of small objects that one batch of reads asks for before it waits for the answers. */
const READ_WINDOW = 4 * 1024 * 1024

/**
 * The objects of a repository, through one long-lived `git cat-file --batch-command --buffer`
 * (git-cat-file(1), git 2.36 or later). Requests are pipelined; answers come in order.
 */
export class GitObjects {
  private readonly batch: BatchProcess
  private readonly gitDir: string
  private closed = false
  private readonly streams = new Set<() => void>()

  constructor(gitDir: string, log: Log) {
    this.gitDir = gitDir
    this.batch = new BatchProcess(gitDir, log)
  }

  /** Has the process started, for who is about to ask. */
  warmUp(): void {
    void this.batch.ask('info', 'HEAD')
  }

  /**
   * What `rev` names, or undefined when there is no such object. Refs are looked up anew every time.
   * @throws AnnexfsError INVALID for a rev that cannot be one, SYSTEM when git fails.
   */
  async info(rev: string): Promise<ObjectInfo | undefined> {
    checkRev(rev)
    return infoOf(await this.batch.ask('info', rev))
  }

  /** As {@link info}, for many at once; what git cannot read is undefined too. */
  async infos(revs: readonly string[]): Promise<readonly (ObjectInfo | undefined)[]> {
    for (const rev of revs) checkRev(rev)
    const answers = await this.batch.askAll('info', revs)
    return answers.map((answer) => (isUnreadable(answer) ? undefined : infoOf(answer)))
  }

  /**
   * A small object whole; undefined when it is not there.
   * @throws AnnexfsError INVALID when it is longer than `maxBytes` (nothing of it is read then), SYSTEM.
   */
  async read(rev: string, maxBytes: number): Promise<GitObject | undefined> {
    const info = await this.info(rev)
    if (info === undefined) return undefined
    if (info.size > maxBytes) {
      throw new AnnexfsError(
        'INVALID',
        `git object ${info.sha} has ${info.size} bytes, more than the ${maxBytes} allowed`,
      )
    }
    return objectOf(await this.batch.ask('contents', info.sha))
  }

  /**
   * Many small objects whose sizes are known from {@link infos}, in that order; undefined for what vanished since, and
   * for what git cannot read (a corrupt object costs nobody else theirs).
   */
  async readAll(objects: readonly ObjectInfo[]): Promise<readonly (GitObject | undefined)[]> {
    const found: (GitObject | undefined)[] = []
    let from = 0
    while (from < objects.length) {
      let to = from
      let bytes = 0
      while (to < objects.length && (to === from || bytes < READ_WINDOW)) bytes += objects[to++]?.size ?? 0
      const shas = objects.slice(from, to).map((object) => object.sha)
      for (const answer of await this.batch.askAll('contents', shas)) found.push(objectOf(answer, true))
      from = to
    }
    return found
  }

  /**
   * The bytes of a blob of any size, from a process of its own that ends when the consumer stops or `signal` fires.
   * @throws AnnexfsError SYSTEM with what git said, ABORTED or TIMED_OUT from the signal.
   */
  async *stream(sha: string, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    if (!/^[0-9a-f]{40}(?:[0-9a-f]{24})?$/.test(sha))
      throw new AnnexfsError('INVALID', `${printable(sha)} is no object id`)
    if (this.closed) throw new AnnexfsError('ABORTED', 'the repository was closed')
    if (signal.aborted) throw abortError(signal)
    const child = started(
      spawn('git', ['cat-file', 'blob', sha], {
        env: gitEnvironment({ gitDir: this.gitDir }),
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true,
      }),
      'git',
    )
    const end = (): void => {
      killGroup(child)
      child.stdout.destroy()
    }
    let complaint = ''
    child.stderr.on('data', (chunk: Buffer) => {
      if (complaint.length < 4096) complaint += chunk.toString('latin1')
    })
    const exit = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    // Seen by nobody when the consumer stops early.
    exit.catch(() => undefined)
    this.streams.add(end)
    signal.addEventListener('abort', end, { once: true })
    try {
      try {
        for await (const chunk of child.stdout) yield chunk as Buffer
      } catch (error) {
        if (signal.aborted) throw abortError(signal)
        throw new AnnexfsError('SYSTEM', `git object ${sha}: ${reasonOf(error)}`, { cause: error })
      }
      if (signal.aborted) throw abortError(signal)
      const code = await exit
      if (code !== 0) throw new AnnexfsError('SYSTEM', `git cannot read object ${sha}: ${oneLine(complaint)}`)
    } finally {
      this.streams.delete(end)
      signal.removeEventListener('abort', end)
      end()
    }
  }

  /** Ends the processes; everything that is under way fails with ABORTED. */
  async close(): Promise<void> {
    this.closed = true
    for (const end of this.streams) end()
    await this.batch.close()
  }
}

/** @throws AnnexfsError INVALID for what could end a request early or is no rev at all. */
function checkRev(rev: string): void {
  // oxlint-disable-next-line no-control-regex -- a newline would start another request
  if (rev === '' || rev.length > LONGEST_REV || /[\u0000-\u001f\u007f]/.test(rev)) {
    throw new AnnexfsError('INVALID', `${printable(rev.slice(0, 200))} cannot be the name of a git object`)
  }
}

/** One object that git cannot read, as opposed to a git that does not work. */
function isUnreadable(answer: Answer): boolean {
  return answer.kind === 'error' && answer.error.code === 'CORRUPT'
}

function infoOf(answer: Answer): ObjectInfo | undefined {
  if (answer.kind === 'error') throw answer.error
  return answer.kind === 'missing' ? undefined : { sha: answer.sha, type: answer.type, size: answer.size }
}

function objectOf(answer: Answer, tolerant = false): GitObject | undefined {
  if (tolerant && isUnreadable(answer)) return undefined
  if (answer.kind === 'error') throw answer.error
  if (answer.kind === 'missing') return undefined
  return { sha: answer.sha, type: answer.type, size: answer.size, bytes: answer.bytes }
}
