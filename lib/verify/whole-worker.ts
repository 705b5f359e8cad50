import { createHash, getHashes, type Hash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { parentPort } from 'node:worker_threads'
import { geometryOf, sizeOf, type Geometry } from '../cache/format.js'
import { SpaceFiles } from '../cache/space-files.js'
import { reasonOf, systemCode, type ErrorCode } from '../errors.js'
import type { Bytes } from '../space/space.js'

/** What the thread of {@link checkWhole} is asked. */
export interface WholeRequest {
  readonly read: { readonly cacheFolder: string } | { readonly path: string }
  readonly space: { readonly id: string; readonly length: Bytes; readonly pieceLength: Bytes }
  readonly offset: Bytes
  readonly length: Bytes
  readonly algorithm: string
  readonly digest: string
}

export type WholeAnswer =
  { readonly outcome: 'match' | 'mismatch' | 'incomplete' } | { readonly code: ErrorCode; readonly message: string }

const STEP: Bytes = 1_048_576

async function answer(request: WholeRequest): Promise<WholeAnswer> {
  const { algorithm, digest, read } = request
  if (!getHashes().includes(algorithm)) {
    return { code: 'UNSUPPORTED', message: `this Node.js cannot compute ${algorithm}` }
  }
  const hash = createHash(algorithm)
  const complete =
    'path' in read ? await hashFile(read.path, request, hash) : hashPieces(read.cacheFolder, request, hash)
  if (!complete) return { outcome: 'incomplete' }
  return { outcome: hash.digest('hex') === digest ? 'match' : 'mismatch' }
}

/** False when the file is not there, not to be read, or does not hold just the slice. */
async function hashFile(path: string, request: WholeRequest, hash: Hash): Promise<boolean> {
  try {
    const file = await open(path, 'r')
    try {
      const stats = await file.stat()
      if (!stats.isFile() || stats.size !== request.length) return false
      const buffer = Buffer.allocUnsafeSlow(STEP)
      for (let at = 0; at < request.length;) {
        const { bytesRead } = await file.read(buffer, 0, Math.min(STEP, request.length - at), at)
        if (bytesRead === 0) return false
        hash.update(buffer.subarray(0, bytesRead))
        at += bytesRead
      }
      return true
    } finally {
      await file.close()
    }
  } catch (error) {
    if (systemCode(error) !== undefined) return false
    throw error
  }
}

/** For writing if possible, so that a damaged piece is forgotten and can be fetched again. */
function openPieces(folder: string, geometry: Geometry): SpaceFiles | undefined {
  try {
    return SpaceFiles.open(folder, geometry, 'write')
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return SpaceFiles.open(folder, geometry, 'read')
  }
}

/** Reads through the cache's own checksums, a piece after the other; false when one is missing or damaged. */
function hashPieces(folder: string, request: WholeRequest, hash: Hash): boolean {
  const { offset, length } = request
  if (length === 0) return true
  const geometry = geometryOf(request.space)
  if (geometry === undefined || offset < 0 || offset + length > geometry.length) return false
  let files: SpaceFiles | undefined
  try {
    files = openPieces(folder, geometry)
    if (files === undefined) return false
    const buffer = Buffer.allocUnsafeSlow(Math.min(STEP, geometry.pieceLength))
    for (let at = offset; at < offset + length;) {
      const index = Math.floor(at / geometry.pieceLength)
      const pieceAt = index * geometry.pieceLength
      const start = at - pieceAt
      const end = Math.min(start + buffer.length, sizeOf(geometry, index), offset + length - pieceAt)
      if (files.readSync(index, start, end, buffer) !== 'hit') return false
      hash.update(buffer.subarray(0, end - start))
      at = pieceAt + end
    }
    return true
  } catch (error) {
    if (systemCode(error) !== undefined) return false
    throw error
  } finally {
    files?.closeSync()
  }
}

parentPort?.on('message', (request: WholeRequest) => {
  void answer(request)
    .catch((error: unknown): WholeAnswer => ({ code: 'SYSTEM', message: reasonOf(error) }))
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    .then((answered) => parentPort?.postMessage(answered))
})
