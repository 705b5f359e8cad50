import { abortable } from '../abortable.js'
import { AnnexfsError, isAnnexfsError, reasonOf } from '../errors.js'
import { runGit } from '../git/process.js'
import type { Log } from '../log/log.js'
import type { Authorize } from '../net/http-client.js'
import { shownUrl } from '../net/url.js'
import type { Milliseconds } from '../space/space.js'

/** A helper that opens a keyring may be slow; one that waits for somebody to type must not hold up reads. */
const HELPER_TIMEOUT: Milliseconds = 15_000

/** Credentials that nobody had, or that were refused, are not asked for again so soon. */
const ASK_AGAIN: Milliseconds = 60_000

const LONGEST_ANSWER = 64 * 1024

/** One object's or request's view: which credentials it sent last. */
export interface AccessSession {
  readonly authorize: Authorize
  /** After an answer 401 of `url`: true when the same request is worth sending again. */
  challenged(url: URL, signal: AbortSignal): Promise<boolean>
}

/**
 * Basic credentials (RFC 7617) for one origin, from the user's `git credential` helpers when the server asks for them,
 * as git-annex has them. Never from a terminal, and never from helpers that a repository's configuration names. Kept in
 * memory only; sent to that origin alone.
 */
export class WebAccess {
  readonly #url: string
  readonly #origin: string
  readonly #log: Log
  readonly #trusted: boolean
  #header: string | undefined
  #asking: Promise<void> | undefined
  #pauseUntil: Milliseconds = 0

  /**
   * @param url that the user's helpers are asked about; credentials go to its origin, or to `origin`.
   * @param options.trusted false when it is not the user who names the server: some helpers have an answer for any host,
   * so that none is asked.
   */
  constructor(url: string, log: Log, options: { readonly trusted: boolean; readonly origin?: string }) {
    this.#url = url
    this.#origin = options.origin ?? new URL(url).origin
    this.#log = log
    this.#trusted = options.trusted
  }

  session(): AccessSession {
    let sent: string | undefined
    return {
      authorize: ({ url }) => {
        sent = url.origin === this.#origin ? this.#header : undefined
        return Promise.resolve(sent === undefined ? {} : { authorization: sent })
      },
      challenged: async (url, signal) => {
        if (!this.#trusted || url.origin !== this.#origin) return false
        if (sent !== undefined && sent === this.#header) {
          this.#log.warn('the server refuses the credentials that git has for it', { url: shownUrl(this.#url) })
          this.#header = undefined
          this.#pauseUntil = performance.now() + ASK_AGAIN
        }
        await this.#ask(signal)
        return this.#header !== undefined && this.#header !== sent
      },
    }
  }

  async #ask(signal: AbortSignal): Promise<void> {
    if (this.#header !== undefined || performance.now() < this.#pauseUntil) return
    // Shared: many reads are refused at once. Who gives up only stops waiting.
    this.#asking ??= this.#fill().finally(() => (this.#asking = undefined))
    await abortable(this.#asking, signal)
  }

  async #fill(): Promise<void> {
    try {
      const answer = await runGit(['credential', 'fill'], {
        // No repository: its configuration could name a helper, which is a program.
        gitDir: '/dev/null',
        input: `url=${credentialUrl(this.#url)}\n\n`,
        maxOutput: LONGEST_ANSWER,
        timeout: HELPER_TIMEOUT,
      })
      this.#header = basicHeader(answer.toString('utf8'))
    } catch (error) {
      if (!isAnnexfsError(error)) throw error
      // Git's own words name the host and what it could not ask, never a password.
      this.#log.info('git has no credentials for a server that asks for them', {
        url: shownUrl(this.#url),
        reason: reasonOf(error),
      })
    }
    if (this.#header === undefined) this.#pauseUntil = performance.now() + ASK_AGAIN
  }
}

/** What to say when a server refuses and there is nothing to send it. */
export const CREDENTIAL_ADVICE = 'store its user and password in a git credential helper'

function credentialUrl(text: string): string {
  const url = new URL(text)
  url.password = ''
  // oxlint-disable-next-line no-control-regex -- a newline would start another attribute
  if (/[\u0000-\u001f\u007f]/.test(url.href)) throw new AnnexfsError('INVALID', 'a URL with control characters')
  return url.href
}

function basicHeader(answer: string): string | undefined {
  const fields = new Map(
    answer.split('\n').flatMap((line) => {
      const equals = line.indexOf('=')
      return equals < 0 ? [] : [[line.slice(0, equals), line.slice(equals + 1)] as const]
    }),
  )
  const [user, password] = [fields.get('username'), fields.get('password')]
  if (user === undefined || password === undefined) return undefined
  return `Basic ${Buffer.from(`${user}:${password}`, 'utf8').toString('base64')}`
}
