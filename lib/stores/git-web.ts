import { abortable } from '../abortable.js'
import { rewriteUrl } from '../annex/git-remote-url.js'
import { hashDirLower, hashDirMixed } from '../annex/hash-dirs.js'
import { isUuid } from '../annex/remotes.js'
import { AnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import { shownUrl } from '../net/url.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { StoreContext } from './context.js'
import { WebAccess } from './git-web-access.js'
import { parseConfigText } from './git-web-config.js'
import { isWebUrl, twice } from './httpalso.js'
import { Places, smallText, type PlacesOptions } from './httpalso-places.js'
import { p2pHttpBase, p2pHttpStore } from './p2p-http.js'
import type { ObjectName, ObjectStore } from './store.js'

/** A repository's configuration is a few lines; ones this long are not. */
const LARGEST_CONFIG: Bytes = 1024 * 1024
/** Long enough that it costs nothing, short enough that a repository that was moved is noticed. */
const REMEMBERED: Milliseconds = 10 * 60_000
/** A repository that could not be asked is asked again sooner. */
const ASK_AGAIN: Milliseconds = 30_000
/** For all of a configuration. */
const PATIENCE: Milliseconds = 30_000

/** What the configuration behind a remote's URL told. */
interface Behind {
  /** URLs of the git directory: one, or those that it may have when the configuration cannot be had. */
  readonly bases: readonly string[]
  /** Undefined when it does not tell. */
  readonly uuid: string | undefined
  readonly bare: boolean | undefined
  /** `annex.url`: where git-annex's own protocol is spoken. */
  readonly annexUrl: string | undefined
  /** Why it could not be asked; undefined when it was, or when that was not needed. */
  readonly failure?: Error
}

/**
 * A git remote over http or https: its object files, where a web server shows the git directory (under the URL itself,
 * or `/.git` below it), by ranges; and git-annex's protocol over HTTP, where the remote offers it (`annex+http…` as its
 * URL, `annexUrl`, or in its own configuration). A remote whose uuid is not known is good for what is recorded to be in
 * the repository that it turns out to be.
 * @throws AnnexfsError INVALID for a remote without such a URL.
 */
export async function gitWebStore(context: StoreContext): Promise<ObjectStore> {
  const { remote, annex, log } = context
  const plain = plainUrl(context, rewriteUrl(remote.config.get('url') ?? '', await annex.git.config()))
  const given = p2pHttpBase(remote.url ?? '')
  if (plain === undefined && given === undefined) {
    throw new AnnexfsError('INVALID', `the git remote ${remote.name} has no http, https or annex+http URL`)
  }
  const repository = plain === undefined ? undefined : new WebRepository(context, plain)
  const speakers = new Map<string, ObjectStore>()
  /** Which way the last object was found: asked first. */
  let protocolFirst = false

  const protocol = (behind: Behind | undefined): ObjectStore | undefined => {
    const base = given ?? p2pHttpBase(behind?.annexUrl ?? '')
    const uuid = remote.uuid === '' ? behind?.uuid : remote.uuid
    if (base === undefined || uuid === undefined) return undefined
    const id = `${uuid} ${base}`
    const store =
      speakers.get(id) ??
      p2pHttpStore(context, { base, uuid, announced: given === undefined, ...(plain === undefined ? {} : { plain }) })
    speakers.set(id, store)
    return store
  }

  return {
    open: async (name, signal) => {
      throwIfAborted(signal)
      const behind = await repository?.behind(signal)
      if (!(await isMeant(context, behind, name))) return undefined
      const speaker = protocol(behind)
      // Ranges are worth more than the protocol, which always sends all the rest.
      const ways = [
        ...(repository === undefined || behind === undefined
          ? []
          : [{ protocol: false, open: () => repository.open(behind, name, signal) }]),
        ...(speaker === undefined ? [] : [{ protocol: true, open: () => speaker.open(name, signal) }]),
      ]
      if (protocolFirst) ways.reverse()
      let problem: Error | undefined
      for (const way of ways) {
        try {
          const object = await way.open()
          if (object === undefined) continue
          protocolFirst = way.protocol
          return object
        } catch (error) {
          throwIfAborted(signal)
          problem ??= error instanceof Error ? error : new Error(String(error))
          log.debug('a way into a remote fails', { remote: remote.name, reason: reasonOf(error) })
        }
      }
      if (problem !== undefined) throw problem
      return undefined
    },
  }
}

/** The remote's URL on the web, where it has one. */
function plainUrl({ remote }: StoreContext, configured: string): string | undefined {
  return [remote.url ?? '', configured].find(isWebUrl)?.replace(/\/+$/, '')
}

/** That it is the repository of which the location log speaks. */
async function isMeant(
  { remote, annex }: StoreContext,
  behind: Behind | undefined,
  name: ObjectName,
): Promise<boolean> {
  const found = behind?.uuid
  if (remote.uuid !== '') {
    if (found === undefined || found === remote.uuid) return true
    throw new AnnexfsError('UNAVAILABLE', `the remote ${remote.name} is the repository ${found}, not ${remote.uuid}`)
  }
  if (found === undefined) {
    if (behind?.failure !== undefined) throw behind.failure
    return false
  }
  if (booleanOf(remote.config.get('annex-speculate-present')) === true) return true
  return (await annex.locations(name.content)).includes(found)
}

/** The files of a git directory that a web server shows. */
class WebRepository {
  readonly #context: StoreContext
  readonly #url: string
  readonly #options: PlacesOptions
  readonly #places = new Map<string, Places>()
  #known: { readonly behind: Behind; readonly until: Milliseconds } | undefined
  #asking: Promise<Behind> | undefined

  constructor(context: StoreContext, url: string) {
    this.#context = context
    this.#url = url
    const name = `${context.remote.name} (${shownUrl(url)})`
    const { urls, log, remote } = context
    this.#options = { client: urls, log, name, access: new WebAccess(url, log, { trusted: remote.configured }) }
  }

  open(behind: Behind, name: ObjectName, signal: AbortSignal): ReturnType<ObjectStore['open']> {
    const { config } = this.#context.remote
    const bare = config.get('annex-bare') === 'false' ? false : behind.bare
    const folders = [hashDirLower(name.key), hashDirMixed(name.key)]
    if (bare === false) folders.reverse()
    const urls = behind.bases.flatMap((base) =>
      folders.map((folder) => `${base}/annex/objects/${folder}${twice(name)}`),
    )
    const id = `${behind.bases.join(' ')} ${String(bare)}`
    const places = this.#places.get(id) ?? new Places(this.#options)
    this.#places.set(id, places)
    return places.open(urls, name, signal)
  }

  async behind(signal: AbortSignal): Promise<Behind> {
    if (this.#known !== undefined && performance.now() < this.#known.until) return this.#known.behind
    // Of one that asks for all; whoever gives up stops waiting.
    this.#asking ??= this.#ask().finally(() => (this.#asking = undefined))
    return abortable(this.#asking, signal)
  }

  /** `<url>/config`, then `<url>/.git/config`, as git-annex asks for them. */
  async #ask(): Promise<Behind> {
    const bases = this.#url.endsWith('/.git') ? [this.#url] : [this.#url, `${this.#url}/.git`]
    let failure: Error | undefined
    let behind: Behind = { bases, uuid: undefined, bare: undefined, annexUrl: undefined }
    for (const base of bases) {
      try {
        const text = await smallText(`${base}/config`, LARGEST_CONFIG, this.#options, AbortSignal.timeout(PATIENCE))
        const config = parseConfigText(text ?? '')
        const uuid = config.get('annex.uuid')
        if (uuid === undefined || !isUuid(uuid)) continue
        behind = { bases: [base], uuid, bare: booleanOf(config.get('core.bare')), annexUrl: config.get('annex.url') }
        break
      } catch (error) {
        failure ??= error instanceof Error ? error : new Error(String(error))
        const { log, remote } = this.#context
        log.debug('a git remote does not tell its uuid', { remote: remote.name, reason: reasonOf(error) })
      }
    }
    // What was known holds on while the server cannot be asked.
    if (behind.uuid === undefined && failure !== undefined) {
      behind = this.#known?.behind.uuid === undefined ? { ...behind, failure } : this.#known.behind
    }
    this.#known = { behind, until: performance.now() + (failure === undefined ? REMEMBERED : ASK_AGAIN) }
    return behind
  }
}

function booleanOf(value: string | undefined): boolean | undefined {
  if (value === undefined) return undefined
  return ['true', 'yes', 'on', '1'].includes(value.toLowerCase())
}
