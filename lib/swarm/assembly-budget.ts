import type { Bytes } from '../space/space.js'

/** Memory for pieces that are being put together, over all torrents of the process. */
export interface AssemblyBudget {
  used: Bytes
  readonly most: Bytes
}
