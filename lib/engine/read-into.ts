import type { Bytes } from '../space/space.js'
import type { OpenFile } from './volume.js'

/**
 * Reads into memory of the caller's own, as many bytes as `own` has room for; short only at the end.
 * @returns how many there were.
 * @throws AnnexfsError as the file's `read`.
 */
export async function readInto(
  file: Pick<OpenFile, 'read'>,
  offset: Bytes,
  own: Uint8Array,
  signal: AbortSignal,
): Promise<Bytes> {
  const result = file.read(offset, own.byteLength, own, signal)
  if (typeof result === 'number') return result
  // What is promised is lent for this turn of the event loop only.
  const bytes = await result
  own.set(bytes)
  return bytes.byteLength
}
