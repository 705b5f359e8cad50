import { keyHash } from '../annex/key.js'
import { AnnexfsError } from '../errors.js'
import type { Bytes, SpaceId } from '../space/space.js'
import { checkWhole } from '../verify/whole.js'
import type { ObjectName } from './store.js'

/**
 * Compares a whole object in a file with the hash in its name; chunks and encrypted objects have none.
 * @param what `KEY from REMOTE`, for messages.
 * @throws AnnexfsError CORRUPT when it is another; ABORTED, SYSTEM as `checkWhole`.
 */
export async function checkFile(
  object: ObjectName,
  path: string,
  size: Bytes,
  what: string,
  signal: AbortSignal,
): Promise<void> {
  const { key, content, suffix } = object
  const hash = keyHash(key)
  if (hash === undefined || key.raw !== content.raw || key.chunkNumber !== undefined || suffix !== undefined) return
  const space = { id: `key:${hash.digest}` as SpaceId, length: size, pieceLength: Math.max(1, size) }
  const slice = { space, offset: 0, length: size }
  const outcome = await checkWhole({ read: { path }, slice, ...hash, signal })
  if (outcome !== 'match') throw new AnnexfsError('CORRUPT', `${what}: what came has another hash (${outcome})`)
}
