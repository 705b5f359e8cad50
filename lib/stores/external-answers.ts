import { hashDirLower, hashDirMixed } from '../annex/hash-dirs.js'
import { parseKey, type Key } from '../annex/key.js'
import { valuesByUuid } from '../annex/logs.js'
import { AnnexfsError, reasonOf } from '../errors.js'
import { rateLimited, type Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import type { StoreContext } from './context.js'
import { externalCredentials } from './external-credentials.js'

/** What a program may make us remember. */
const MOST_KEPT = 1_000
const LONGEST_KEPT = 65_536
const LONGEST_SAID = 1_000
const MOST_URLS = 10_000
/** More messages than this in a second are not logged. */
const MOST_SAID = 20
const LOG_EVERY: Milliseconds = 1_000

/**
 * Answers what an external special remote asks (git-annex: "external special remote protocol"). What it sets is kept in
 * memory only, shared by its processes: a mount writes to no repository. Texts are bytes as latin1, as on the wire.
 */
export class ExternalAnswers {
  readonly #context: StoreContext
  readonly #log: Log
  readonly #own = new Map<string, string>()
  readonly #secrets = new Set<string>()
  /** By key, TAB and URL: whether it was set present (or missing). */
  readonly #urls = new Map<string, boolean>()
  /** How much it has had logged in this second. */
  #said = 0
  #second = 0

  constructor(context: StoreContext) {
    this.#context = context
    this.#log = rateLimited(context.log, LOG_EVERY)
  }

  /** `text` without the secrets that were given to the program. */
  redact(text: string): string {
    let clean = text
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, '***')
    return clean
  }

  /**
   * The lines to answer a message with; undefined when it is no such message. PROGRESS and ERROR are not handled here.
   * @throws AnnexfsError INVALID for one that makes no sense.
   */
  answer(line: string): Promise<readonly string[]> | readonly string[] | undefined {
    const [word = '', ...fields] = line.split(' ')
    const first = fields[0] ?? ''
    const rest = fields.slice(1).join(' ')
    const all = fields.join(' ')
    switch (word) {
      case 'DIRHASH':
        return [`VALUE ${hashDirMixed(keyOf(all))}`]
      case 'DIRHASH-LOWER':
        return [`VALUE ${hashDirLower(keyOf(all))}`]
      case 'GETCONFIG':
        return [`VALUE ${this.#config(all)}`]
      case 'SETCONFIG':
        return this.#keep(`config ${first}`, rest)
      case 'GETCREDS':
        return this.#credentials(all)
      case 'SETCREDS':
        this.#hide(fields.slice(2).join(' '))
        return this.#keep(`creds ${first}`, rest)
      case 'GETUUID':
        return [`VALUE ${this.#context.remote.uuid}`]
      case 'GETGITDIR':
        return [`VALUE ${bytesOf(this.#context.annex.git.gitDir)}`]
      case 'GETGITREMOTENAME':
        return [`VALUE ${bytesOf(this.#context.remote.name)}`]
      case 'GETWANTED':
        return this.#wanted()
      case 'SETWANTED':
        return this.#keep('wanted', all)
      case 'GETSTATE':
        return this.#state(all)
      case 'SETSTATE':
        return this.#keep(`state ${first}`, rest)
      case 'SETURLPRESENT':
      case 'SETURIPRESENT':
        return this.#setUrl(first, rest, true)
      case 'SETURLMISSING':
      case 'SETURIMISSING':
        return this.#setUrl(first, rest, false)
      case 'GETURLS':
        return this.#getUrls(first, rest)
      case 'DEBUG':
        this.#say('debug', all)
        return []
      case 'INFO':
        this.#say('info', all)
        return []
      default:
        return undefined
    }
  }

  #say(level: 'debug' | 'info', text: string): void {
    const second = Math.floor(performance.now() / 1_000)
    if (second !== this.#second) this.#said = 0
    this.#second = second
    if (++this.#said > MOST_SAID) return
    const shown = Buffer.from(this.redact(text).slice(0, LONGEST_SAID), 'latin1').toString('utf8')
    this.#log[level](shown, { remote: this.#context.remote.name })
  }

  #hide(secret: string): void {
    // Shorter ones would hide half of every line.
    if (secret.length >= 4 && this.#secrets.size < MOST_KEPT) this.#secrets.add(secret)
  }

  #keep(name: string, value: string): readonly string[] {
    if (value.length > LONGEST_KEPT || (this.#own.size >= MOST_KEPT && !this.#own.has(name))) {
      throw new AnnexfsError('UNAVAILABLE', `${this.#context.remote.name}: the program wants too much to be remembered`)
    }
    this.#own.set(name, value)
    return []
  }

  #config(name: string): string {
    const own = this.#own.get(`config ${name}`)
    if (own !== undefined) return own
    // These are settings of git-annex for the remote, not the remote's own.
    if (name.startsWith('annex-')) return ''
    return oneLine(bytesOf(this.#context.remote.config.get(textOf(name)) ?? ''))
  }

  async #credentials(name: string): Promise<readonly string[]> {
    const own = this.#own.get(`creds ${name}`)
    if (own !== undefined) return [`CREDS ${own}`]
    const found = await externalCredentials(this.#context, textOf(name))
    if (found === undefined) return ['CREDS  ']
    this.#hide(bytesOf(found.password))
    this.#hide(found.password)
    return [`CREDS ${oneLine(bytesOf(found.user))} ${oneLine(bytesOf(found.password))}`]
  }

  async #state(key: string): Promise<readonly string[]> {
    const own = this.#own.get(`state ${key}`)
    if (own !== undefined) return [`VALUE ${own}`]
    const { annex, remote } = this.#context
    const states = await annex.stateOf(keyOf(key), '.log.rmt')
    return [`VALUE ${oneLine(states.get(remote.configUuid ?? remote.uuid) ?? '')}`]
  }

  async #wanted(): Promise<readonly string[]> {
    const own = this.#own.get('wanted')
    if (own !== undefined) return [`VALUE ${own}`]
    const { annex, remote } = this.#context
    for (const ref of ['refs/heads/git-annex', 'refs/remotes/origin/git-annex']) {
      try {
        const log = await annex.git.objects.read(`${ref}:preferred-content.log`, LONGEST_KEPT * 16)
        const wanted = valuesByUuid(log?.bytes.toString('latin1') ?? '').get(remote.uuid)
        if (wanted !== undefined) return [`VALUE ${oneLine(wanted)}`]
      } catch (error) {
        this.#log.debug('preferred content cannot be read', { ref, reason: reasonOf(error) })
      }
    }
    return ['VALUE ']
  }

  #setUrl(key: string, url: string, present: boolean): readonly string[] {
    const name = `${key}\t${url}`
    if (this.#urls.size < MOST_KEPT || this.#urls.has(name)) this.#urls.set(name, present)
    return []
  }

  async #getUrls(key: string, prefix: string): Promise<readonly string[]> {
    const recorded = await this.#context.annex.urls(keyOf(key))
    const urls = new Set(recorded.map((url) => bytesOf(url.replace(/^(?:yt|quvi)?:(?!\/\/)/, ''))))
    for (const [name, present] of this.#urls) {
      const tab = name.indexOf('\t')
      if (name.slice(0, tab) !== key) continue
      if (present) urls.add(name.slice(tab + 1))
      else urls.delete(name.slice(tab + 1))
    }
    const matching = [...urls].filter((url) => url.startsWith(prefix)).slice(0, MOST_URLS)
    return [...matching.map((url) => `VALUE ${oneLine(url)}`), 'VALUE ']
  }
}

function keyOf(raw: string): Key {
  const key = parseKey(raw)
  if (key === undefined) throw new AnnexfsError('INVALID', 'the program asked about something that is not a key')
  return key
}

/** Text as the bytes of its UTF-8, one character each. */
export function bytesOf(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

function textOf(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

/** A value that came from a repository must not end the line that it is sent in. */
function oneLine(value: string): string {
  return value.replace(/[\r\n]+/g, ' ')
}
