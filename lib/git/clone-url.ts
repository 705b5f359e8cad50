import { AnnexfsError } from '../errors.js'
import { printable } from '../log/log.js'

/** Where to clone from. */
export interface CloneUrl {
  /** Without a password. */
  readonly url: string
  /** Settings that carry the password, for the environment: a command line can be read by everyone. */
  readonly settings: readonly (readonly [string, string])[]
  /** For logs and messages: without user and password. */
  readonly shown: string
  /** Takes secrets out of what git says. */
  redact(text: string): string
}

/** What git may speak. */
export const CLONE_PROTOCOLS: readonly string[] = ['http', 'https', 'ssh', 'git', 'file']

/** True for what is meant as a place to clone from rather than a folder: a URL, or `host:path` as scp has it. */
export function isCloneUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text) || isScpStyle(text)
}

/** `[user@]host:path`, with no slash before the colon. */
function isScpStyle(text: string): boolean {
  return /^(?:[A-Za-z0-9_][A-Za-z0-9_.+-]*@)?(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\]):(?!:)[^-]/.test(text)
}

/**
 * Checks a URL to clone from: http, https, ssh, git, file, or scp style.
 * @throws AnnexfsError INVALID for what git or ssh would take for an option or run as a program.
 */
export function parseCloneUrl(text: string): CloneUrl {
  // oxlint-disable-next-line no-control-regex -- none belongs into a URL; a newline would end a setting
  if (text === '' || text.startsWith('-') || /[\u0000-\u001f\u007f]/.test(text)) {
    throw new AnnexfsError('INVALID', `${JSON.stringify(text.slice(0, 100))} is not a URL to clone from`)
  }
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
    if (isScpStyle(text)) return plain(text, text)
    throw new AnnexfsError(
      'INVALID',
      `${printable(text.slice(0, 100))} is not a URL to clone from: use http, https, ssh, git or file, or host:path`,
    )
  }
  let url: URL
  try {
    url = new URL(text)
  } catch (error) {
    throw new AnnexfsError('INVALID', 'the URL to clone from is malformed', { cause: error })
  }
  const protocol = url.protocol.slice(0, -1).toLowerCase()
  if (!CLONE_PROTOCOLS.includes(protocol)) {
    throw new AnnexfsError('INVALID', `${protocol} URLs are not cloned: use http, https, ssh, git, file, or host:path`)
  }
  if (decoded(url.hostname).startsWith('-') || decoded(url.username).startsWith('-')) {
    throw new AnnexfsError('INVALID', 'the URL to clone from has a host or user that starts with a dash')
  }
  if (url.password === '' && !(protocol.startsWith('http') && url.username !== '')) {
    return plain(text, protocol === 'ssh' ? text : withoutUser(url))
  }
  return withCredentials(url, protocol)
}

function plain(url: string, shown: string): CloneUrl {
  return { url, settings: [], shown: printable(shown), redact: (text) => text }
}

function withCredentials(url: URL, protocol: string): CloneUrl {
  const secret = Buffer.from(`${decoded(url.username)}:${decoded(url.password)}`).toString('base64')
  const secrets = [url.password, decoded(url.password), secret].filter((text) => text !== '')
  const redact = (text: string): string => secrets.reduce((safe, part) => safe.replaceAll(part, '***'), text)
  if (!protocol.startsWith('http')) {
    throw new AnnexfsError('INVALID', `a password in an ${protocol} URL is of no use: leave it out and use a key`)
  }
  const clean = withoutUser(url)
  return {
    url: clean,
    // Bound to the host: git and curl do not send it elsewhere after a redirect.
    settings: [[`http.${url.protocol}//${url.host}/.extraHeader`, `Authorization: Basic ${secret}`]],
    shown: printable(clean),
    redact,
  }
}

/** Percent-decoded; as it is where the encoding is malformed. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // A stray percent sign stands for itself.
    return text
  }
}

function withoutUser(url: URL): string {
  const copy = new URL(url)
  copy.username = ''
  copy.password = ''
  return copy.href
}
