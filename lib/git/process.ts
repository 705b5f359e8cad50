import { spawn, type ChildProcess } from 'node:child_process'
import { AnnexfsError, reasonOf } from '../errors.js'
import { oneLine } from '../log/one-line.js'
import { started } from '../started.js'
import { plainEnvironment } from './environment.js'

/** What of our own environment would point git at another repository, or make it print what nobody reads. */
const NOT_INHERITED = [
  'GIT_ALTERNATE_OBJECT_DIRECTORIES',
  'GIT_CONFIG',
  'GIT_CONFIG_PARAMETERS',
  'GIT_CONFIG_COUNT',
  'GIT_OBJECT_DIRECTORY',
  'GIT_DIR',
  'GIT_WORK_TREE',
  'GIT_IMPLICIT_WORK_TREE',
  'GIT_GRAFT_FILE',
  'GIT_INDEX_FILE',
  'GIT_REPLACE_REF_BASE',
  'GIT_PREFIX',
  'GIT_SHALLOW_FILE',
  'GIT_COMMON_DIR',
  'GIT_NAMESPACE',
  'GIT_TRACE',
  'GIT_TRACE2',
  'GIT_TRACE2_EVENT',
  'GIT_TRACE2_PERF',
  'GIT_FLUSH',
  'LANGUAGE',
]

/** Settings that win over those of a repository, so that its configuration cannot name programs for us to run. */
const OVERRIDES: readonly (readonly [string, string])[] = [
  ['core.fsmonitor', 'false'],
  ['core.hooksPath', '/dev/null'],
  ['core.pager', 'cat'],
  ['core.attributesFile', '/dev/null'],
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
  ['protocol.ext.allow', 'never'],
  // What is mapped of packs counts as memory of a mount, and stays mapped. By itself git maps all of them, whole.
  ['core.packedGitWindowSize', '512k'],
  ['core.packedGitLimit', '4m'],
]

export interface GitEnvironment {
  /** The repository's git directory; none for commands that make one. */
  readonly gitDir?: string
  /** Protocols that may be used; none at all for reading (a partial clone must not fetch behind our back). */
  readonly protocols?: readonly string[]
  /** More settings, given through the environment because a command line can be read by everyone. */
  readonly settings?: readonly (readonly [string, string])[]
  /** Keep what the user's environment has of credentials of remotes: for git-annex, which needs them. */
  readonly secrets?: boolean
}

/** The environment for a git process that only reads, asks nothing and runs nothing that a repository names. */
export function gitEnvironment(options: GitEnvironment): NodeJS.ProcessEnv {
  const environment = options.secrets === true ? { ...process.env } : plainEnvironment()
  for (const name of NOT_INHERITED) delete environment[name]
  const settings = [...OVERRIDES, ...(options.settings ?? [])]
  // The repository that was asked for by name may belong to somebody else: nothing of it is run.
  if (options.gitDir !== undefined) settings.push(['safe.directory', options.gitDir])
  for (const [index, [name, value]] of settings.entries()) {
    environment[`GIT_CONFIG_KEY_${index}`] = name
    environment[`GIT_CONFIG_VALUE_${index}`] = value
  }
  return {
    ...environment,
    ...(options.gitDir === undefined ? {} : { GIT_DIR: options.gitDir }),
    GIT_CONFIG_COUNT: String(settings.length),
    GIT_OPTIONAL_LOCKS: '0',
    GIT_TERMINAL_PROMPT: '0',
    GIT_NO_LAZY_FETCH: '1',
    // An object id must always name the same bytes.
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_ALLOW_PROTOCOL: (options.protocols ?? ['none']).join(':'),
    GIT_PAGER: 'cat',
    LC_ALL: 'C.UTF-8',
  }
}

export interface RunOptions extends GitEnvironment {
  /** Longest output taken, in bytes; more is an error. */
  readonly maxOutput: number
  readonly signal?: AbortSignal
  /** In milliseconds. */
  readonly timeout?: number
  /** Exit codes that are not a failure, besides 0. */
  readonly accept?: readonly number[]
  readonly input?: string
}

/**
 * Runs git to its end and gives its standard output.
 * @throws AnnexfsError SYSTEM with what git said, TIMED_OUT, ABORTED.
 */
export async function runGit(args: readonly string[], options: RunOptions): Promise<Buffer> {
  const what = `git ${args[0] ?? ''}`
  // A process group of its own, without a terminal: nothing below it can ask a question, and all of it can be ended.
  const child = started(
    spawn('git', args, { env: gitEnvironment(options), stdio: ['pipe', 'pipe', 'pipe'], detached: true }),
    'git',
  )
  let stop: AnnexfsError | undefined
  const end = (error: AnnexfsError): void => {
    stop ??= error
    killGroup(child)
  }
  const onAbort = (): void => end(new AnnexfsError('ABORTED', `${what}: the caller gave up`))
  const timer =
    options.timeout === undefined
      ? undefined
      : setTimeout(
          () => end(new AnnexfsError('TIMED_OUT', `${what} did not end within ${options.timeout} ms`)),
          options.timeout,
        )
  options.signal?.addEventListener('abort', onAbort, { once: true })
  if (options.signal?.aborted === true) onAbort()
  const output: Buffer[] = []
  const complaint: Buffer[] = []
  let outputBytes = 0
  let complaintBytes = 0
  child.stdout.on('data', (chunk: Buffer) => {
    outputBytes += chunk.length
    if (outputBytes > options.maxOutput) {
      end(new AnnexfsError('INVALID', `${what} printed more than ${options.maxOutput} bytes`))
    } else output.push(chunk)
  })
  child.stderr.on('data', (chunk: Buffer) => {
    complaintBytes += chunk.length
    if (complaintBytes < 8192) complaint.push(chunk)
  })
  // EPIPE: git ended without reading its input; its exit code says why.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input ?? '')
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    if (stop !== undefined) throw stop
    if (code !== 0 && !(options.accept ?? []).includes(code ?? -1)) {
      const said = oneLine(Buffer.concat(complaint).toString('utf8'))
      throw new AnnexfsError('SYSTEM', `${what} failed (exit code ${code ?? 'none'}): ${said}`)
    }
    return Buffer.concat(output)
  } catch (error) {
    if (error instanceof AnnexfsError) throw error
    throw new AnnexfsError('SYSTEM', `cannot run git: ${reasonOf(error)}. Is git installed and in the PATH?`, {
      cause: error,
    })
  } finally {
    clearTimeout(timer)
    options.signal?.removeEventListener('abort', onAbort)
  }
}

/** Ends a child that leads its own process group, with all that it started. */
export function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // The group is gone already, or was never made; the child itself is what remains to be ended.
    child.kill('SIGKILL')
  }
}
