import { AnnexfsError, throwIfAborted } from '../errors.js'
import type { HttpBody } from '../net/http-body.js'
import type { Authorize } from '../net/http-client.js'
import { shownUrl, webUrl } from '../net/url.js'
import { codePoints, surrogateUtf8 } from './code-points.js'
import type { Credentials, StoreContext } from './context.js'
import { httpObject } from './http-object.js'
import { RememberedCredentials } from './remembered-credentials.js'
import type { ObjectStore, StoredObject } from './store.js'
import { isTree, objectLocation, pathInTree } from './tree-objects.js'
import { urlBelow } from './url-path.js'
import { digestAuthorization, digestChallenge, offersBasic, type DigestChallenge } from './webdav-digest.js'

/**
 * A folder of a WebDAV server (https://git-annex.branchable.com/special_remotes/webdav/), with basic or digest
 * authentication.
 * @throws AnnexfsError INVALID, FORBIDDEN for a URL that cannot be fetched.
 */
export function webdavStore(context: StoreContext): ObjectStore {
  const { remote, client, log } = context
  const name = `${remote.name} (webdav)`
  const base = baseUrl(remote.config.get('url'), name)
  const login = new Login(context, name, base.startsWith('https:'))
  return {
    open: async (object, signal) => {
      throwIfAborted(signal)
      const { size } = object
      const path = isTree(remote.config) ? pathInTree(object, remote.config) : objectLocation(object)
      if (path === undefined) return undefined
      // Bytes that are no UTF-8 have gone through text as surrogates.
      const url = urlBelow(base, surrogateUtf8(codePoints(path)))
      const opened: StoredObject = httpObject({
        client,
        url,
        name,
        log,
        authorize: login.authorize,
        refused: (answer, sent) => login.refused(answer, sent, url),
        ...(size === undefined ? {} : { size }),
      })
      return opened
    },
  }
}

function baseUrl(configured: string | undefined, name: string): string {
  if (configured === undefined) throw new AnnexfsError('INVALID', `${name}: its configuration names no URL (url=)`)
  const url = webUrl(configured)
  url.search = ''
  url.hash = ''
  return url.href.replace(/\/+$/, '')
}

type Scheme =
  | { readonly kind: 'none' }
  | { readonly kind: 'basic' }
  | { readonly kind: 'digest'; readonly challenge: DigestChallenge }

/** How the server wants to be told who asks: learned from its first refusal, shared by all objects of the remote. */
class Login {
  readonly #context: StoreContext
  readonly #name: string
  readonly #credentials: RememberedCredentials
  #scheme: Scheme
  /** How often the nonce of the challenge was used. */
  #count = 0

  constructor(context: StoreContext, name: string, secure: boolean) {
    this.#context = context
    this.#name = name
    this.#credentials = new RememberedCredentials(context)
    // Unlike git-annex, which knows no digests: without TLS the password waits until the server wants just that.
    this.#scheme = { kind: secure ? 'basic' : 'none' }
  }

  readonly authorize: Authorize = async ({ method, url }) => {
    const scheme = this.#scheme
    if (scheme.kind === 'none') return {}
    const credentials = await this.#credentials.get()
    if (credentials === undefined) return {}
    if (scheme.kind === 'basic') return { authorization: basic(credentials) }
    const uri = `${url.pathname}${url.search}`
    return { authorization: digestAuthorization(scheme.challenge, { method, uri, count: ++this.#count }, credentials) }
  }

  /** Whether `url` is to be asked again, or what is wrong. */
  async refused(
    answer: HttpBody,
    sent: Readonly<Record<string, string>>,
    url: string,
  ): Promise<AnnexfsError | string | undefined> {
    // Some say "not there" to strangers.
    const hidden = answer.status === 404 && sent['authorization'] === undefined
    if (answer.status !== 401 && answer.status !== 403 && !hidden) return undefined
    // Credentials are for the remote's own server, not for one that it redirected to.
    if (answer.url.origin !== new URL(url).origin) return undefined
    if ((await this.#credentials.get()) === undefined) return hidden ? undefined : this.#denied(answer)
    const offered = answer.header('www-authenticate') ?? ''
    const challenge = digestChallenge(offered)
    const tried = sent['authorization'] ?? ''
    if (answer.status === 401 && challenge !== undefined && (!tried.startsWith('Digest ') || challenge.stale)) {
      this.#scheme = { kind: 'digest', challenge }
      this.#count = 0
      return url
    }
    if (tried === '' && (answer.status !== 401 || offered === '' || offersBasic(offered))) {
      // One that was learned meanwhile is the better one.
      if (this.#scheme.kind === 'none') this.#scheme = { kind: 'basic' }
      return url
    }
    this.#credentials.forget()
    return this.#denied(answer, tried)
  }

  #denied(answer: HttpBody, tried?: string): AnnexfsError {
    const give = `WEBDAV_USERNAME and WEBDAV_PASSWORD, or run git annex enableremote ${this.#context.remote.name} with them`
    const where = `${this.#name}: ${shownUrl(answer.url)}`
    if (tried === undefined) {
      const text = `the server wants a user and a password, and there are none; set ${give}`
      return new AnnexfsError('FORBIDDEN', `${where}: ${text} (${answer.status})`)
    }
    const text =
      tried === ''
        ? 'the server wants a kind of authentication that is not known here; basic and digest are'
        : `the server does not take the user and the password that there are; set others by ${give}`
    return new AnnexfsError('FORBIDDEN', `${where}: ${text} (${answer.status})`)
  }
}

/** RFC 7617. */
function basic({ user, password }: Credentials): string {
  return `Basic ${Buffer.from(`${user}:${password}`, 'utf8').toString('base64')}`
}
