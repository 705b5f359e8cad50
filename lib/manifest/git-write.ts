import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { AnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import { oneLine } from '../log/one-line.js'

/** What of our environment would point git at another repository than the one that is meant. */
const NOT_INHERITED = /^GIT_(?!CONFIG_|AUTHOR_|COMMITTER_|SSH|EXEC_PATH$|TRACE)/
/** Answers are object ids. */
const LONGEST_ANSWER = 64 * 1024

/**
 * Starts a git that writes into the user's own repository: with all of the user's settings, as `git commit` would have
 * them (identity, signing, hooks on refs), and git's own refusal of repositories that belong to others. That is why git
 * has to find the repository by itself: of one that it is given by GIT_DIR it does not look at the owner.
 */
function startWriter(gitDir: string, args: readonly string[]): ChildProcessWithoutNullStreams {
  const own = Object.entries(process.env).filter(([name]) => !NOT_INHERITED.test(name))
  const env = {
    ...Object.fromEntries(own),
    GIT_NO_LAZY_FETCH: '1',
    GIT_NO_REPLACE_OBJECTS: '1',
    LC_ALL: 'C.UTF-8',
  }
  // Seen from inside, any repository is a bare one: who allows only named ones has named this one.
  const found = ['-c', 'safe.bareRepository=all', ...args]
  return spawn('git', found, { cwd: gitDir, env, stdio: ['pipe', 'pipe', 'pipe'] })
}

/**
 * Runs a git command that writes to its end and gives what it printed. It keeps the terminal, where a passphrase may be
 * asked for.
 * @throws AnnexfsError SYSTEM with what git said, ABORTED.
 */
export async function writeGit(
  gitDir: string,
  args: readonly string[],
  options: { input?: string | Buffer; signal?: AbortSignal } = {},
): Promise<string> {
  const { input = '', signal } = options
  if (signal !== undefined) throwIfAborted(signal)
  const child = startWriter(gitDir, args)
  const kill = (): void => void child.kill()
  signal?.addEventListener('abort', kill, { once: true })
  const said = listen(child)
  let printed = ''
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    // An id a line, of as many objects as were asked about.
    printed += text
  })
  child.stdin.end(input)
  try {
    await ended(child, `git ${args[0] ?? ''}`, said)
    return printed.trimEnd()
  } catch (error) {
    if (signal !== undefined) throwIfAborted(signal)
    throw error
  } finally {
    signal?.removeEventListener('abort', kill)
  }
}

/** An entry of a tree to be made. */
export interface NewEntry {
  readonly mode: number
  /** Bytes as latin1. */
  readonly name: string
  readonly sha: string
}

interface Asked {
  readonly resolve: (sha: string) => void
  readonly reject: (error: unknown) => void
}

/** Makes tree objects through one `git mktree --batch`. Close it. */
export class TreeMaker {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #asked: Asked[] = []
  readonly #end: Promise<void>
  #failure: Error | undefined

  constructor(gitDir: string) {
    this.#child = startWriter(gitDir, ['mktree', '-z', '--batch'])
    const said = listen(this.#child)
    let rest = ''
    this.#child.stdout.setEncoding('latin1').on('data', (text: string) => {
      rest += text
      const lines = rest.split('\n')
      rest = (lines.pop() ?? '').slice(0, LONGEST_ANSWER)
      for (const line of lines) this.#asked.shift()?.resolve(line)
    })
    this.#end = ended(this.#child, 'git mktree', said)
    const fail = (error: unknown): void => {
      this.#failure = error instanceof Error ? error : new AnnexfsError('SYSTEM', reasonOf(error))
      for (const one of this.#asked.splice(0)) one.reject(error)
    }
    this.#end.then(() => fail(new AnnexfsError('SYSTEM', 'git mktree has ended')), fail)
  }

  /** Writes a tree and gives its id; entries in any order. @throws AnnexfsError SYSTEM. */
  async make(entries: Iterable<NewEntry>): Promise<string> {
    if (this.#failure !== undefined) throw this.#failure
    const answer = new Promise<string>((resolve, reject) => this.#asked.push({ resolve, reject }))
    const records = [...entries].map(({ mode, name, sha }) => `${modeText(mode)} ${typeOf(mode)} ${sha}\t${name}\0`)
    this.#child.stdin.write(Buffer.from(`${records.join('')}\0`, 'latin1'))
    return answer
  }

  async close(): Promise<void> {
    this.#child.stdin.end()
    // What failed has been said to whoever asked for the tree.
    await this.#end.catch(() => undefined)
  }
}

function modeText(mode: number): string {
  return mode.toString(8).padStart(6, '0')
}

function typeOf(mode: number): string {
  const kind = mode & 0o170000
  if (kind === 0o040000) return 'tree'
  return kind === 0o160000 ? 'commit' : 'blob'
}

function listen(child: ChildProcessWithoutNullStreams): () => string {
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (said.length < 8192) said += text
  })
  // EPIPE: git ended without reading its input; its exit code says why.
  child.stdin.on('error', () => undefined)
  return () => oneLine(said)
}

async function ended(child: ChildProcessWithoutNullStreams, what: string, said: () => string): Promise<void> {
  let code: number | null
  try {
    code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
  } catch (error) {
    throw new AnnexfsError('SYSTEM', `cannot run git: ${reasonOf(error)}. Is git installed and in the PATH?`, {
      cause: error,
    })
  }
  if (code !== 0) throw new AnnexfsError('SYSTEM', `${what} failed (exit code ${code ?? 'none'}): ${said()}`)
}
