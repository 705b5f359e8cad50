import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { checkPiece } from '../../lib/verify/piece.js'
import { bytesOf, KIB, sampleSpace } from '../cache/support.js'

for (const pieceLength of [16 * KIB, 256 * KIB]) {
  test(`a piece of ${pieceLength} bytes is verified against its hash, wherever that is computed`, async () => {
    const plain = sampleSpace('hashes', 2.5 * pieceLength, pieceLength)
    const hashes = {
      algorithm: 'sha1' as const,
      at: (index: number) => createHash('sha1').update(bytesOf(plain, index)).digest(),
    }
    const space = { ...plain, hashes }
    for (const index of [0, 1, 2]) {
      const bytes = bytesOf(plain, index)
      assert.equal((await checkPiece(space, index, bytes)).assurance, 'piece')
      bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1
      await assert.rejects(checkPiece(space, index, bytes), (error) => isAnnexfsError(error, 'CORRUPT'))
    }
    await assert.rejects(checkPiece(space, 2, bytesOf(plain, 1)), (error) => isAnnexfsError(error, 'CORRUPT'))
  })
}

test('without hashes a piece of the right length is pending, and of another refused', async () => {
  const space = sampleSpace('plain', 100, 40)
  assert.equal((await checkPiece(space, 2, new Uint8Array(20))).assurance, 'pending')
  await assert.rejects(checkPiece(space, 2, new Uint8Array(40)), (error) => isAnnexfsError(error, 'CORRUPT'))
  await assert.rejects(checkPiece(space, 0, new Uint8Array(0)), (error) => isAnnexfsError(error, 'CORRUPT'))
})
