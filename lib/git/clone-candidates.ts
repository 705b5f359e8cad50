import { isAbsolute, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { localFolder } from '../annex/git-remote-url.js'
import { AnnexfsError, reasonOf, type Attempt } from '../errors.js'
import { isCloneUrl, parseCloneUrl, type CloneUrl } from './clone-url.js'

/** A repository that another one goes into. */
export interface Superproject {
  /** The URLs of its git remotes, with `insteadOf` applied; the one that its branch follows first. */
  readonly remotes: readonly string[]
  /** Where it is itself: relative URLs start there when it has no remote. */
  readonly folder: string
}

/** What is said of where a submodule comes from. */
export interface SubmoduleOrigin {
  /** Where it goes in, below the root of the repository around it. */
  readonly path: string
  /** `submodule.NAME.url` of the git configuration: the user's own word. */
  readonly configured: string | undefined
  /** `url` and `datalad-url` of `.gitmodules`: whoever wrote the repository. */
  readonly url: string | undefined
  readonly dataladUrl: string | undefined
}

/** A place that a submodule may be cloned from. */
export interface CloneCandidate {
  readonly from: CloneUrl
  /** http, https, ssh, git or file. */
  readonly protocol: string
  readonly host: string
  /** The user's own configuration names the host: ssh may connect there wherever it is. */
  readonly named: boolean
}

/** Most places that are tried. */
const MOST = 16
/** Most remotes of the repository around it that are looked at. */
const MOST_REMOTES = 4

/**
 * The places that a submodule may be cloned from, likeliest first: what the configuration says, what `.gitmodules` says
 * (relative URLs as git resolves them, gitsubmodules(7), and below a remote without the `/.git` that http needs), and
 * where DataLad would look: below the URLs of the remotes, and `datalad-url`; of http URLs also the git directory in them.
 * @returns also what was refused, and why.
 */
export function cloneCandidates(
  around: Superproject,
  origin: SubmoduleOrigin,
): { candidates: readonly CloneCandidate[]; refused: readonly Attempt[] } {
  const candidates = new Map<string, CloneCandidate>()
  const refused = new Map<string, Attempt>()
  const remotes = around.remotes.slice(0, MOST_REMOTES)
  const hosts = new Set(remotes.map(hostOf))
  // What only the repository says may lead to a folder of this machine when it came from one.
  const local = remotes[0] === undefined || localFolder(remotes[0], around.folder) !== undefined
  const add = (url: string, allowed: { local: boolean; named?: boolean }): void => {
    if (candidates.size >= MOST) return
    try {
      const candidate = candidateOf(url, allowed, around.folder)
      const known = allowed.named === true || (candidate.host !== '' && hosts.has(candidate.host))
      if (!candidates.has(candidate.from.url)) candidates.set(candidate.from.url, { ...candidate, named: known })
    } catch (error) {
      const source = shortened(url)
      refused.set(source, { source, reason: reasonOf(error) })
    }
  }
  const addWithGit = (url: string, allowed: { local: boolean; named?: boolean }): void => {
    add(url, allowed)
    const inside = gitInside(url)
    if (inside !== undefined) add(inside, allowed)
  }
  const bases = remotes.length === 0 ? [around.folder] : remotes.flatMap((remote) => [remote, withoutGit(remote)])
  const addSaid = (said: string | undefined): void => {
    const url = said === undefined ? '' : riaRepository(said)
    if (url === '') return
    if (!/^\.\.?(?:\/|$)/.test(url)) {
      addWithGit(url, { local })
      return
    }
    for (const base of bases) {
      const resolved = relativeUrl(base, url)
      if (resolved === undefined)
        refused.set(url, { source: shortened(url), reason: `it leads out of ${shortened(base)}` })
      else addWithGit(resolved, { local: true })
    }
  }
  if (origin.configured !== undefined) addWithGit(riaRepository(origin.configured), { local: true, named: true })
  addSaid(origin.url)
  for (const base of new Set(bases)) {
    const below = relativeUrl(base, `./${encodedFor(base, origin.path)}`)
    if (below === undefined) continue
    add(below, { local: true })
    add(`${below}/.git`, { local: true })
  }
  addSaid(origin.dataladUrl)
  return { candidates: [...candidates.values()], refused: [...refused.values()] }
}

function candidateOf(url: string, allowed: { local: boolean }, base: string): Omit<CloneCandidate, 'named'> {
  const folder = isAbsolute(url) || /^file:/i.test(url) ? localFolder(url, base) : undefined
  if (folder !== undefined || /^file:/i.test(url)) {
    if (!allowed.local) {
      throw new AnnexfsError('FORBIDDEN', 'a repository from elsewhere names a folder of this machine')
    }
    if (folder === undefined) throw new AnnexfsError('INVALID', 'it names no folder')
    // As a URL, lest git take objects from there as they are, with links.
    const from = parseCloneUrl(pathToFileURL(folder).href)
    return { from, protocol: 'file', host: '' }
  }
  // A relative path that does not start with a dot is relative to nothing that is known here.
  if (!isCloneUrl(url)) throw new AnnexfsError('INVALID', 'it is neither a URL nor a path')
  const from = parseCloneUrl(url)
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(from.url)?.[1]?.toLowerCase() ?? 'ssh'
  return { from, protocol: scheme, host: hostOf(from.url) }
}

/**
 * The repository that a RIA URL names (DataLad: `ria+<URL of the store>#<dataset id>` or `#~<alias>`, either with `@<version>`,
 * which the recorded commit overrules); any other URL as it is.
 */
export function riaRepository(url: string): string {
  const match = /^ria\+((?:https?|ssh|file):\/\/[^#]*)#(~?)([A-Za-z0-9_.-]+)(?:@.*)?$/is.exec(url)
  if (match === null) return url
  const [, store = '', alias, name = ''] = match
  const base = store.replace(/\/+$/, '')
  if (name.startsWith('.') || (alias === '' && name.length < 4)) return url
  return alias === '' ? `${base}/${name.slice(0, 3)}/${name.slice(3)}` : `${base}/alias/${name}`
}

/** The host that a URL or `user@host:path` names, in lower case; empty for a folder. */
export function hostOf(url: string): string {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(url)) return URL.canParse(url) ? new URL(url).hostname.toLowerCase() : ''
  const scp = /^(?:[^@/]*@)?(\[[^\]]*\]|[^:/]+):/.exec(url)?.[1]
  return (scp ?? '').toLowerCase()
}

function withoutGit(url: string): string {
  return url.replace(/\/\.git\/*$/, '')
}

/**
 * The git directory of what is not a bare repository, which a web server of plain files shows only by that name; undefined
 * where git finds it by itself.
 */
function gitInside(url: string): string | undefined {
  return /^https?:\/\//i.test(url) && withoutGit(url) === url ? `${url.replace(/\/+$/, '')}/.git` : undefined
}

/** Names of the path as they go into a URL; as they are for what is none. */
function encodedFor(base: string, path: string): string {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(base) ? path.split('/').map(encodeURIComponent).join('/') : path
}

/**
 * A URL that starts with `./` or `../`, from that of the repository around it, as git does (remote.c, relative_url).
 * Undefined when it would change the host, or lead above the root.
 */
export function relativeUrl(base: string, relative: string): string | undefined {
  const split =
    /^([a-z][a-z0-9+.-]*:\/\/[^/]*)(\/.*)?$/is.exec(base) ?? /^((?:[^@/]*@)?(?:\[[^\]]*\]|[^:/]+):)(.*)$/s.exec(base)
  const scp = split !== null && !/:\/\//.test(split[1] ?? '')
  const [prefix, path] = split === null ? ['', base] : [split[1] ?? '', split[2] ?? '']
  const rooted = path.startsWith('/')
  const parts = path.split('/').filter((part) => part !== '')
  let rest = relative
  for (;;) {
    if (rest === '.' || rest.startsWith('./')) rest = rest.slice(2)
    else if (rest === '..' || rest.startsWith('../')) {
      if (parts.pop() === undefined) return undefined
      rest = rest.slice(3)
    } else break
  }
  const names = rest.split('/').filter((part) => part !== '')
  // Git leaves them to the server, which may think otherwise.
  if (names.some((name) => name === '..' || name === '.')) return undefined
  const joined = [...parts, ...names].join('/')
  if (joined === '') return undefined
  if (split === null) return rooted ? `/${joined}` : resolve('/', joined)
  return scp && !rooted ? `${prefix}${joined}` : `${prefix}/${joined}`
}

function shortened(url: string): string {
  const shown = url.replace(/\/\/[^/@]*@/, '//')
  return shown.length > 200 ? `${shown.slice(0, 200)}…` : shown
}
