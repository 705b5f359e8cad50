import type { GitConfig } from '../git/config.js'
import type { SourceLimits } from '../sources/source.js'
import type { Bytes } from '../space/space.js'
import type { AnnexRemote } from './remote.js'
import { annexBytes, annexDuration } from './units.js'

/** More tries or longer pauses than these would outlast any reader. */
const MOST_RETRIES = 20
const LONGEST_DELAY = 3600

/** What `annex.stalldetection=true` stands for here; git-annex then measures what is usual first. */
const USUAL_STALL = { bytes: 1, within: 60_000 }

/**
 * What the user configured for transfers from `remote` (git-annex(1)): `annex-retry`, `annex-retry-delay`,
 * `annex-stalldetection` of the remote, else those of `annex.`. Values that make no sense are left out.
 */
export function limitsOf(remote: Pick<AnnexRemote, 'config'>, config: GitConfig): SourceLimits {
  const retries = whole(setting(remote, config, ['retry']), MOST_RETRIES)
  const delay = whole(setting(remote, config, ['retry-delay']), LONGEST_DELAY)
  const stall = stallOf(setting(remote, config, ['stalldetection-download', 'stalldetection']))
  return {
    ...(retries === undefined ? {} : { retries }),
    ...(delay === undefined ? {} : { retryDelay: delay * 1000 }),
    ...(stall === undefined ? {} : { stall }),
  }
}

/** The most bytes a second to take from `remote` (`annex-bwlimit-download`, `annex-bwlimit`); undefined for no limit. */
export function bandwidthOf(remote: Pick<AnnexRemote, 'config'>, config: GitConfig): Bytes | undefined {
  const text = setting(remote, config, ['bwlimit-download', 'bwlimit'])
  const bytes = text === undefined ? undefined : annexBytes(text)
  return bytes === 0 ? undefined : bytes
}

/** The first of `names` that is set for the remote, else of those set for all. */
function setting(remote: Pick<AnnexRemote, 'config'>, config: GitConfig, names: readonly string[]): string | undefined {
  for (const name of names) {
    const own = remote.config.get(`annex-${name}`)
    if (own !== undefined) return own
  }
  for (const name of names) {
    const common = config.get(`annex.${name}`)
    if (common !== undefined) return common
  }
  return undefined
}

function whole(text: string | undefined, most: number): number | undefined {
  return text !== undefined && /^\d{1,9}$/.test(text.trim()) ? Math.min(Number(text), most) : undefined
}

/** `10KB/1m`; `true` and `false`. */
function stallOf(text: string | undefined): SourceLimits['stall'] {
  if (text === undefined) return undefined
  if (/^(?:true|yes|on|1)$/i.test(text)) return USUAL_STALL
  const slash = text.indexOf('/')
  if (slash < 0) return undefined
  const bytes = annexBytes(text.slice(0, slash))
  const within = annexDuration(text.slice(slash + 1))
  return bytes === undefined || within === undefined || within === 0 ? undefined : { bytes, within }
}
