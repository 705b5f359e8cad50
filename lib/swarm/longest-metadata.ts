import type { Bytes } from '../space/space.js'

/** No torrent needs a longer info dictionary; what a peer claims beyond it is not asked for. */
export const LONGEST_METADATA: Bytes = 32 * 1024 * 1024
