import { homedir } from 'node:os'
import type { GitConfig } from '../git/config.js'
import { isAllowEntry } from '../net/address-policy.js'

/** What the user's git configuration says about the network (git-annex(1)). */
export interface NetworkSettings {
  /** `annex.security.allowed-ip-addresses`: addresses allowed although they are private, on any port or one; `all`. */
  readonly allow: readonly string[]
  /** Entries of it that are not understood, for a warning. */
  readonly refused: readonly string[]
  /** `annex.security.allowed-url-schemes`, in lower case, without a colon. */
  readonly schemes: ReadonlySet<string>
  readonly userAgent: string | undefined
  /** `annex.http-headers`. */
  readonly headers: readonly (readonly [string, string])[]
  /** `annex.http-headers-command`: prints headers, one on a line; then the others do not count. */
  readonly headersCommand: string | undefined
  /** git's `http.sslCAInfo`: a file of authorities. */
  readonly authorities: string | undefined
}

const DEFAULT_SCHEMES = ['http', 'https']
const MOST_ENTRIES = 1000

export function networkSettings(config: GitConfig): NetworkSettings {
  const entries = words(
    config.get('annex.security.allowed-ip-addresses') ?? config.get('annex.security.allowed-http-addresses'),
  )
  const schemes = config.get('annex.security.allowed-url-schemes')
  const userAgent = config.get('annex.user-agent')
  return {
    allow: entries.filter(isAllowEntry),
    refused: entries.filter((entry) => !isAllowEntry(entry)),
    schemes: new Set(schemes === undefined ? DEFAULT_SCHEMES : words(schemes).map((one) => one.toLowerCase())),
    userAgent: userAgent !== undefined && /^[\x20-\x7e]{1,500}$/.test(userAgent) ? userAgent : undefined,
    headers: headerLines(config.all('annex.http-headers')),
    headersCommand: config.get('annex.http-headers-command'),
    authorities: config.get('http.sslcainfo')?.replace(/^~(?=\/)/, homedir()),
  }
}

/** `Name: value` lines; others are left out. */
export function headerLines(lines: readonly string[]): readonly (readonly [string, string])[] {
  return lines.slice(0, MOST_ENTRIES).flatMap((line) => {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/.exec(line.replace(/\r$/, ''))
    return match === null ? [] : [[match[1] ?? '', match[2] ?? ''] as const]
  })
}

function words(text: string | undefined): readonly string[] {
  return (text ?? '')
    .split(/\s+/)
    .filter((word) => word !== '')
    .slice(0, MOST_ENTRIES)
}
