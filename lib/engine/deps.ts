import type { Facts } from '../cache/facts.js'
import type { Log } from '../log/log.js'
import type { HttpClient } from '../net/http-client.js'
import type { Bytes } from '../space/space.js'
import type { StoreSets } from '../stores/store-sets.js'
import type { Swarm } from '../swarm/swarm.js'
import type { ManifestAccess } from './manifest-access.js'
import type { Spaces } from './spaces.js'

/** How sure bytes must be before they are returned (doc/SEMANTICS.md, Verification). */
export type VerifyMode = 'normal' | 'strict' | 'manifest'
export const VERIFY_MODES: readonly VerifyMode[] = ['normal', 'strict', 'manifest']

/** What opening content needs of the rest; made once by {@link openEngine}. */
export interface Deps {
  readonly spaces: Spaces
  readonly facts: Facts
  /** For URLs that a repository or a torrent names: the address policy applies. */
  readonly client: HttpClient
  /** The open remotes of the repositories. */
  readonly stores: StoreSets
  readonly swarm: Swarm
  readonly log: Log
  readonly cacheFolder: string
  readonly verify: VerifyMode
  readonly manifests: ManifestAccess
  readonly readahead: Bytes
  readonly webSeeds: boolean
  /** True for paths that must not be read because they lie inside the mount. */
  readonly forbid: (path: string) => boolean
}
