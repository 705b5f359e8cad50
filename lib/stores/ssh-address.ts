import { AnnexfsError } from '../errors.js'
import { printable } from '../log/log.js'

/** A place on a host that is reached over ssh. */
export interface SshAddress {
  readonly user?: string
  readonly host: string
  readonly port?: number
  /** As the URL has it: absolute, or `/~/…` and `/~user/…` below a home. */
  readonly path: string
  /** For logs and messages: `user@host:port/path`. */
  readonly shown: string
}

const LONGEST = 4096

/** What OpenSSH refuses in names that came from elsewhere: a user's `ProxyCommand` may hand them to a shell. */
// oxlint-disable-next-line no-control-regex -- control characters are among them
const UNSAFE = /[\u0000-\u0020\u007f'"`$\\;&<>|(){}*?!]/

/** True for `ssh://…` (and its old spellings) and for scp style: a colon before the first slash, and no scheme. */
export function isSshUrl(url: string): boolean {
  if (/^(?:ssh|git\+ssh|ssh\+git):\/\//i.test(url)) return true
  const bracketed = /^(?:[^@/[\]]*@)?\[[^\]/]+\]:/.test(url)
  return bracketed || (/^[^/:]+:(?!:)/.test(url) && !/^[a-z0-9+.-]+:\/\//i.test(url))
}

/**
 * Parses what git takes for a repository behind ssh (git-fetch(1), "GIT URLS"): `ssh://[user@]host[:port]/path`, or scp
 * style `[user@]host:path`, with brackets around IPv6 addresses. Nothing in it can be taken for an option of a program.
 * @throws AnnexfsError INVALID.
 */
export function parseSshUrl(url: string): SshAddress {
  const refuse = (why: string): AnnexfsError =>
    new AnnexfsError('INVALID', `the ssh address ${printable(url.slice(0, 300))} is refused: ${why}`)
  if (url.length > LONGEST) throw refuse(`it is longer than ${LONGEST} characters`)
  const match = /^(?:ssh|git\+ssh|ssh\+git):\/\/(?:([^/]*)@)?(\[[^\]/]+\]|[^/:[\]]*)(?::(\d*))?(\/.*)?$/is.exec(url)
  const parts = match === null ? scpStyle(url) : urlStyle(match)
  if (parts === undefined) throw refuse('it is neither ssh://host/path nor host:path')
  const { user, host, port, path } = parts
  if (user?.includes(':') === true) throw refuse('a password in it would be shown to everyone; use a key')
  if (host === '') throw refuse('it names no host')
  if (path === '') throw refuse('it names no path')
  if (UNSAFE.test(host) || (user !== undefined && UNSAFE.test(user))) {
    throw refuse('its user or host has characters that a shell may act upon')
  }
  // ssh and the programs at the other end would take these for options (as in CVE-2017-1000117).
  if ([host, user ?? '', path].some((part) => part.startsWith('-'))) throw refuse('a part of it starts with "-"')
  // oxlint-disable-next-line no-control-regex -- just these are refused
  if (/[\u0000\r\n]/.test(path)) throw refuse('its path has a line break in it')
  if (port !== undefined && (port < 1 || port > 65535)) throw refuse('its port is none')
  const shownPort = port === undefined ? '' : `:${port}`
  return {
    host,
    path,
    ...(user === undefined || user === '' ? {} : { user }),
    ...(port === undefined ? {} : { port }),
    shown: printable(`${user === undefined || user === '' ? '' : `${user}@`}${host}${shownPort}${path}`),
  }
}

interface Parts {
  readonly user: string | undefined
  readonly host: string
  readonly port: number | undefined
  readonly path: string
}

function urlStyle([, user, host = '', port, path = '']: RegExpExecArray): Parts | undefined {
  try {
    return {
      user: user === undefined ? undefined : decodeURIComponent(user),
      host: host.replace(/^\[|\]$/g, ''),
      port: port === undefined || port === '' ? undefined : Number(port),
      path: decodeURIComponent(path),
    }
  } catch {
    // A `%` that is no escape: not a URL.
    return undefined
  }
}

function scpStyle(url: string): Parts | undefined {
  if (!isSshUrl(url)) return undefined
  // As git: brackets may also hold `host:port`.
  const match = /^(?:([^@/]*)@)?(?:\[([^\]/]+)\]|([^@/:[\]]*)):(.*)$/s.exec(url)
  if (match === null) return undefined
  const [, user, bracketed, plain, path = ''] = match
  const withPort = /^([^:]+):(\d+)$/.exec(bracketed ?? '')
  return {
    user,
    host: withPort?.[1] ?? bracketed ?? plain ?? '',
    port: withPort === null ? undefined : Number(withPort[2]),
    // git-annex-shell resolves relative paths as URLs have them: below the home.
    path: path === '' || path.startsWith('/') ? path : path.startsWith('~') ? `/${path}` : rooted(path),
  }
}

function rooted(path: string): string {
  return path.startsWith('-') ? path : `/~/${path}`
}

/**
 * The path as programs at the host that know no URLs take it: relative to the home, where they start.
 * @throws AnnexfsError UNSUPPORTED for the home of another user.
 */
export function pathAtHost(address: SshAddress): string {
  const { path } = address
  if (path === '/~' || path === '/~/') return '.'
  if (path.startsWith('/~/')) return path.slice(3)
  if (path.startsWith('/~')) {
    throw new AnnexfsError('UNSUPPORTED', `${address.shown}: without git-annex-shell there, give the path in full`)
  }
  return path
}

/** What ssh is told to connect to. */
export function destination({ user, host }: SshAddress): string {
  return user === undefined ? host : `${user}@${host}`
}

/** What the user types to get there. */
export function login(address: SshAddress): string {
  const { port } = address
  return `ssh ${port === undefined ? '' : `-p ${port} `}${destination(address)}`
}
