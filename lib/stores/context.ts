import type { AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import type { Scratch } from '../cache/scratch.js'
import type { Log } from '../log/log.js'
import type { HttpClient, WebReads } from '../net/http-client.js'

/** User and password of a remote, or access key and secret. Never shown: neither in logs nor errors nor arguments. */
export interface Credentials {
  readonly user: string
  readonly password: string
  /** AWS's session token. */
  readonly token?: string
}

/** What making the store of a remote takes. */
export interface StoreContext {
  readonly remote: AnnexRemote
  readonly annex: AnnexRepository
  /** Guarded by the address policy and `annex.security.*`; with the user agent and headers that are configured. */
  readonly client: HttpClient
  /**
   * The same for what git-annex gets as it gets any URL: `annex.security.allowed-url-schemes` counts there, and not for S3,
   * WebDAV, git-lfs and its own protocol.
   */
  readonly urls: WebReads
  /** Those of the remote: from the environment, the repository's `annex/creds`, or remote.log; undefined when there are none. */
  readonly credentials: () => Promise<Credentials | undefined>
  /** A private folder (0700) within the cache for files of whole transfers and sockets; made when first used. */
  readonly folder: string
  /** Room for files of whole transfers, under the cache's bound: `PieceStore.scratch`. Without it `folder` is used. */
  readonly scratch?: Scratch
  readonly log: Log
  /** True for paths that must not be read because they lie inside the mount. */
  readonly forbid: (path: string) => boolean
}
