import { open, stat } from 'node:fs/promises'
import { abortable } from '../abortable.js'
import { displayKey } from '../annex/key.js'
import { AnnexfsError, reasonOf, systemCode, throwIfAborted } from '../errors.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { StoreContext } from './context.js'
import { bytesOf, ExternalAnswers } from './external-answers.js'
import { configuredType } from './external-policy.js'
import { ExternalPool } from './external-pool.js'
import { findProgram } from './external-process.js'
import { ExternalSession } from './external-session.js'
import { httpObject } from './http-object.js'
import type { ObjectName, ObjectStore, StoredObject, WholeStore } from './store.js'
import { wholeObjects } from './whole.js'

export interface ExternalOptions {
  /** A program that says nothing, and whose file does not grow, is ended after so long. */
  readonly patience?: Milliseconds
  /** A process that nobody needs is ended after so long. */
  readonly idle?: Milliseconds
  readonly grace?: Milliseconds
}

const PATIENCE: Milliseconds = 60_000
const IDLE: Milliseconds = 60_000
/** Two transfers, and a question beside them. */
const MOST_PROCESSES = 3
/** A program that gives URLs does so at once; one that takes longer is transferring. */
const URL_WITHIN: Milliseconds = 5_000
const LARGEST: Bytes = Number.MAX_SAFE_INTEGER

/**
 * A special remote whose program (`git-annex-remote-TYPE`) the user has configured. Whole objects only, unless the
 * program gives URLs.
 * @throws AnnexfsError UNSUPPORTED when it is not configured in the user's own git configuration, or the program is not
 * installed; INVALID for a type that is no name; FORBIDDEN when the repository is another user's.
 */
export async function externalStore(context: StoreContext, options: ExternalOptions = {}): Promise<ObjectStore> {
  const type = await configuredType(context)
  const program = await findProgram(`git-annex-remote-${type}`, context.forbid)
  const { remote, log, folder, scratch } = context
  const name = `${remote.name} (${type})`
  const store = new ExternalStore(context, program, name, options)
  const { grace } = options
  const whole = wholeObjects(store, {
    name,
    folder,
    log,
    ...(scratch === undefined ? {} : { scratch }),
    ...(grace === undefined ? {} : { grace }),
  })
  return {
    open: async (object, signal) => (await store.byUrl(object, signal)) ?? whole.open(object, signal),
    close: () => whole.close?.() ?? Promise.resolve(),
  }
}

class ExternalStore implements WholeStore {
  readonly #context: StoreContext
  readonly #name: string
  readonly #pool: ExternalPool
  #ordered: boolean | undefined
  #givesUrls: boolean | undefined

  constructor(context: StoreContext, program: string, name: string, options: ExternalOptions) {
    this.#context = context
    this.#name = name
    const { annex, log, forbid } = context
    const answers = new ExternalAnswers(context)
    const cwd = [annex.git.workTree, annex.git.gitDir].find((folder) => folder !== undefined && !forbid(folder)) ?? '/'
    const patience = options.patience ?? PATIENCE
    const env = programEnvironment()
    const session = { name: `git-annex-remote of ${name}`, program, cwd, env, answers, patience, log }
    this.#pool = new ExternalPool({
      start: (signal) => ExternalSession.start(session, signal),
      most: MOST_PROCESSES,
      idle: options.idle ?? IDLE,
    })
  }

  get ordered(): boolean {
    return this.#ordered === true
  }

  async has(name: ObjectName, signal: AbortSignal): Promise<boolean | undefined> {
    const key = keyOf(name)
    const word = name.path === undefined ? 'CHECKPRESENT' : 'CHECKPRESENTEXPORT'
    const asked = this.#pool.request({
      ...before(name),
      line: `${word} ${key}`,
      answers: ['SUCCESS', 'FAILURE', 'UNKNOWN', 'URL'].map((outcome) => `CHECKPRESENT-${outcome} ${key}`),
      signal,
    })
    const { answer, session } = await abortable(asked, signal)
    const [outcome = '', , ...rest] = answer.split(' ')
    switch (outcome) {
      case 'CHECKPRESENT-SUCCESS':
        return true
      case 'CHECKPRESENT-FAILURE':
        return false
      case 'CHECKPRESENT-URL':
        return this.#urlThere(rest.join(' '), signal)
      case 'CHECKPRESENT-UNKNOWN':
        throw session.error(`cannot tell whether it has ${displayKey(name.key)}: ${session.shown(rest.join(' '))}`)
      default:
        return undefined
    }
  }

  async retrieve(
    name: ObjectName,
    file: string,
    options: { readonly signal: AbortSignal; readonly progress: (bytes: Bytes) => void },
  ): Promise<void> {
    await this.#askOrdered(options.signal)
    const url = await this.#transfer(name, file, options)
    if (url !== undefined) await this.#download(url, name, file, options)
  }

  async close(): Promise<void> {
    await this.#pool.close()
  }

  /** The object behind the URL that the program names instead of transferring, where it is one that does so. */
  async byUrl(name: ObjectName, signal: AbortSignal): Promise<StoredObject | undefined> {
    if (this.#givesUrls === false || name.path !== undefined) return undefined
    keyOf(name)
    this.#givesUrls ??= await abortable(this.#pool.wants('TRANSFER-RETRIEVE-URL', signal), signal)
    if (!this.#givesUrls) return undefined
    const scratch = await this.#context.scratch?.take(0)
    if (scratch === undefined) return undefined
    const moves = new AbortController()
    const within = AbortSignal.any([signal, moves.signal, AbortSignal.timeout(URL_WITHIN)])
    try {
      const url = await this.#transfer(name, scratch.path, {
        signal: within,
        progress: (bytes) => {
          if (bytes > 0) moves.abort(new AnnexfsError('ABORTED', `${this.#name} transfers instead of giving a URL`))
        },
      })
      if (url === undefined) {
        // It has transferred after all, and will do so again.
        this.#givesUrls = false
        return undefined
      }
      const { urls: client, log } = this.#context
      const size = name.size === undefined ? {} : { size: name.size }
      return httpObject({ client, url, name: this.#name, log, ...size })
    } catch (error) {
      throwIfAborted(signal)
      if (within.aborted) this.#givesUrls = false
      // Asking whether it has it, and transferring it, tell better what is wrong.
      this.#context.log.debug('no URL instead of a transfer', { remote: this.#name, reason: reasonOf(error) })
      return undefined
    } finally {
      await scratch.remove()
    }
  }

  /** @returns the URL to download it from, when the program says so instead. */
  async #transfer(
    name: ObjectName,
    file: string,
    { signal, progress }: { readonly signal: AbortSignal; readonly progress: (bytes: Bytes) => void },
  ): Promise<string | undefined> {
    const key = keyOf(name)
    const word = name.path === undefined ? 'TRANSFER' : 'TRANSFEREXPORT'
    let size = await sizeOf(file)
    const alive = async (): Promise<boolean> => {
      const now = await sizeOf(file)
      const grew = now !== size
      size = now
      return grew
    }
    const { answer, session } = await this.#pool.request({
      ...before(name),
      line: `${word} RETRIEVE ${key} ${oneLine(bytesOf(file), 'the cache folder')}`,
      answers: [`TRANSFER-SUCCESS RETRIEVE ${key}`, `TRANSFER-FAILURE RETRIEVE ${key}`, `TRANSFER-RETRIEVE-URL ${key}`],
      signal,
      progress,
      alive,
    })
    if (answer.startsWith('TRANSFER-SUCCESS')) return undefined
    const said = answer.split(' ').slice(answer.startsWith('TRANSFER-RETRIEVE-URL') ? 2 : 3)
    if (answer.startsWith('TRANSFER-RETRIEVE-URL') && session.has('TRANSFER-RETRIEVE-URL')) return said.join(' ')
    if (answer.startsWith('TRANSFER-FAILURE')) {
      throw session.error(`cannot retrieve ${displayKey(name.key)}: ${session.shown(said.join(' '))}`)
    }
    throw session.error(`does not support ${word} RETRIEVE`)
  }

  async #download(
    url: string,
    name: ObjectName,
    file: string,
    { signal, progress }: { readonly signal: AbortSignal; readonly progress: (bytes: Bytes) => void },
  ): Promise<void> {
    const { urls: client, log } = this.#context
    const object = httpObject({ client, url, name: this.#name, log })
    const handle = await open(file, 'w', 0o600)
    try {
      let at = 0
      for await (const bytes of object.all(name.size ?? LARGEST, { urgency: 'read', signal })) {
        // All of it: a single write may be short, and would leave a gap of zeros.
        await handle.writeFile(bytes)
        at += bytes.byteLength
        progress(at)
      }
    } finally {
      object.close?.()
      await handle.close()
    }
  }

  async #urlThere(url: string, signal: AbortSignal): Promise<boolean | undefined> {
    const { status } = await this.#context.urls.head(url, signal)
    if (status === 200) return true
    return status === 404 || status === 410 ? false : undefined
  }

  /** Asked once: a program that does not know the question says so. */
  async #askOrdered(signal: AbortSignal): Promise<void> {
    if (this.#ordered !== undefined) return
    this.#ordered = false
    const { answer } = await this.#pool.request({ line: 'GETORDERED', answers: ['ORDERED', 'UNORDERED'], signal })
    this.#ordered = answer === 'ORDERED'
  }
}

/** The user's environment, without what points git at another repository. */
function programEnvironment(): NodeJS.ProcessEnv {
  const names = Object.keys(process.env).filter((name) => !name.startsWith('GIT_') || name.startsWith('GIT_SSH'))
  return Object.fromEntries(names.map((name) => [name, process.env[name]]))
}

function keyOf(name: ObjectName): string {
  const { raw } = name.key
  if (/[ \r\n]/.test(raw) || name.suffix !== undefined) {
    throw new AnnexfsError('UNSUPPORTED', `external special remotes cannot hold ${displayKey(name.key)}`)
  }
  return raw
}

function before(name: ObjectName): { readonly before?: string } {
  if (name.path === undefined) return {}
  return { before: `EXPORT ${oneLine(name.path.toString('latin1'), 'a file of the exported tree')}` }
}

function oneLine(text: string, what: string): string {
  if (/[\r\n]/.test(text)) throw new AnnexfsError('UNSUPPORTED', `the name of ${what} has a line break in it`)
  return text
}

async function sizeOf(file: string): Promise<Bytes> {
  try {
    return (await stat(file)).size
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 0
    throw error
  }
}
