import { rewriteUrl } from '../annex/git-remote-url.js'
import { AnnexfsError, reasonOf } from '../errors.js'
import { shownUrl } from '../net/url.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { StoreContext } from './context.js'
import { expiryOf, plainHeaderMap } from './git-lfs-batch.js'
import { isWebUrl } from './httpalso.js'
import { isSshUrl, parseSshUrl } from './ssh-address.js'
import type { SshChannel } from './ssh-channel.js'
import { SshEnded } from './ssh-failure.js'
import { SshHost } from './ssh-host.js'

/** Where the batch API of an LFS server is. */
export interface LfsEndpoint {
  /** Without a slash at its end; `/objects/batch` follows. */
  readonly url: string
  /** For each request to it. */
  readonly headers: Readonly<Record<string, string>>
  /** When another one must be asked for (`performance.now()`); undefined: never. */
  readonly expires: Milliseconds | undefined
}

/** Finds the endpoint; of one behind ssh anew each time. */
export interface LfsDiscovery {
  find(signal: AbortSignal): Promise<LfsEndpoint>
  /**
   * Whose credentials the server may ask for: those of `url`, for requests to `origin`, when the user's own
   * configuration names its host (`trusted`); undefined: it gives tokens.
   */
  readonly credentials: { readonly url: string; readonly origin: string; readonly trusted: boolean } | undefined
  close(): Promise<void>
}

const LARGEST_ANSWER: Bytes = 256 * 1024
/** As it goes to a shell at the host unquoted, because servers such as GitHub's know no quotes. */
const PLAIN_PATH = /^[A-Za-z0-9_./~+@%,=:-]+$/

/**
 * How the endpoint of a git-lfs remote is found (Git LFS, "server discovery"): `apiurl=` and `remote.NAME.lfsurl` say it; of
 * an http or https URL it is guessed, always with https; ssh hosts are asked (`git-lfs-authenticate`).
 * @throws AnnexfsError INVALID when the remote has no URL of these kinds.
 */
export async function lfsDiscovery(context: StoreContext): Promise<LfsDiscovery> {
  const { remote, annex } = context
  const said = remote.config.get('lfsurl') ?? remote.config.get('apiurl')
  const git = rewriteUrl((remote.config.get('url') ?? '').replace(/^gcrypt::/, ''), await annex.git.config())
  const hosts = await ownHosts(context)
  if (said !== undefined && isWebUrl(said)) return fixed(said.replace(/\/+$/, ''), git, hosts)
  if (isWebUrl(git)) return fixed(guessedEndpoint(git), git, hosts)
  if (isSshUrl(git)) return behindSsh(context, git)
  throw new AnnexfsError('INVALID', `the git-lfs remote ${remote.name} has no http, https or ssh URL`)
}

/** As git-annex guesses it: https whatever the URL says, `.git` appended where it is missing. */
export function guessedEndpoint(text: string): string {
  const url = new URL(text)
  const path = url.pathname.replace(/\/+$/, '')
  const user = url.username === '' ? '' : `${url.username}${url.password && `:${url.password}`}@`
  return `https://${user}${url.host}${path}${path.endsWith('.git') ? '' : '.git'}/info/lfs`
}

/** The hosts that the git configuration names for the remote: what only remote.log says is anybody's word. */
async function ownHosts({ remote, annex }: StoreContext): Promise<ReadonlySet<string>> {
  if (!remote.configured) return new Set()
  const config = await annex.git.config()
  const own = config.under('remote', remote.name)
  const urls = ['url', 'lfsurl', 'apiurl'].map((name) => rewriteUrl(own.get(name) ?? '', config))
  return new Set(urls.filter(isWebUrl).map((url) => new URL(url).hostname))
}

function fixed(url: string, git: string, hosts: ReadonlySet<string>): LfsDiscovery {
  const endpoint: LfsEndpoint = { url, headers: {}, expires: undefined }
  const { hostname, origin } = new URL(url)
  // As git-annex asks for them: those of the repository, unless the server is another host.
  const asked = isWebUrl(git) && new URL(git).hostname === hostname ? git : url
  const credentials = { url: asked, origin, trusted: hosts.has(hostname) }
  return { find: () => Promise.resolve(endpoint), credentials, close: () => Promise.resolve() }
}

async function behindSsh(context: StoreContext, url: string): Promise<LfsDiscovery> {
  const address = parseSshUrl(url)
  // Legal, but git-lfs-authenticate programs do not know it.
  const path = address.path.replace(/^\/~\//, '')
  if (!PLAIN_PATH.test(path) || path.startsWith('-')) {
    throw new AnnexfsError(
      'INVALID',
      `${address.shown}: its path has characters that git-lfs-authenticate cannot be given`,
    )
  }
  const host = await SshHost.of(context, address)
  return {
    credentials: undefined,
    find: async (signal) => {
      const command = `git-lfs-authenticate ${path} download`
      const channel = await host.run({ command }, 'git-lfs-authenticate')
      try {
        return parseEndpoint((await output(channel, signal)).toString('utf8'), address.shown)
      } finally {
        await channel.close()
      }
    },
    close: () => host.close(),
  }
}

/** All that the program prints. @throws SshEnded when it fails; AnnexfsError INVALID when it is too much. */
async function output(channel: SshChannel, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = []
  for (let length = 0; ;) {
    try {
      const chunk = await channel.some(LARGEST_ANSWER, signal)
      length += chunk.length
      chunks.push(chunk)
    } catch (error) {
      if (error instanceof SshEnded && error.end.code === 0) return Buffer.concat(chunks)
      throw error
    }
    if (length > LARGEST_ANSWER) {
      throw new AnnexfsError('INVALID', `git-lfs-authenticate printed more than ${LARGEST_ANSWER} bytes`)
    }
  }
}

/** `{"href", "header", "expires_in", "expires_at"}`. @throws AnnexfsError UNAVAILABLE. */
function parseEndpoint(text: string, shown: string): LfsEndpoint {
  let answer: unknown
  try {
    answer = JSON.parse(text)
  } catch (error) {
    throw new AnnexfsError('UNAVAILABLE', `${shown}: git-lfs-authenticate did not answer in JSON: ${reasonOf(error)}`)
  }
  if (typeof answer !== 'object' || answer === null || !('href' in answer) || typeof answer.href !== 'string') {
    throw new AnnexfsError('UNAVAILABLE', `${shown}: git-lfs-authenticate named no endpoint`)
  }
  const url = answer.href.replace(/\/+$/, '')
  if (!isWebUrl(url)) {
    throw new AnnexfsError('FORBIDDEN', `${shown}: git-lfs-authenticate named an endpoint that is not on the web`)
  }
  const headers = plainHeaderMap('header' in answer ? answer.header : undefined)
  if (!/^https:/i.test(url) && Object.keys(headers).length > 0) {
    throw new AnnexfsError('FORBIDDEN', `${shownUrl(url)}: a token would be sent there in the clear`)
  }
  return { url, headers, expires: expiryOf(answer) }
}
