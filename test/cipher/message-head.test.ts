import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isAnnexfsError } from '../../lib/errors.js'
import { checkedMessage, type Protection } from '../../lib/cipher/message-head.js'

/** A packet with an old-format (one length byte) or new-format header. */
const old = (tag: number, length: number): Buffer =>
  Buffer.concat([Buffer.from([0x80 | (tag << 2), length]), Buffer.alloc(length, 1)])
const fresh = (tag: number, length: number): Buffer => {
  const header = length < 192 ? [length] : [192 + ((length - 192) >> 8), (length - 192) & 0xff]
  return Buffer.concat([Buffer.from([0xc0 | tag, ...header]), Buffer.alloc(length, 1)])
}
const five = (tag: number, length: number): Buffer => {
  const header = Buffer.from([0xc0 | tag, 255, 0, 0, 0, 0])
  header.writeUInt32BE(length, 2)
  return Buffer.concat([header, Buffer.alloc(length, 1)])
}
const DATA = Buffer.from([0xd2, 0xed, 1, 2, 3])
const AEAD = Buffer.from([0xd4, 0xed, 1, 2, 3])

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function passes(message: Buffer, protection: Protection): Promise<boolean> {
  for (const size of [1, 7, 100_000]) {
    try {
      const parts: Uint8Array[] = []
      for await (const part of await checkedMessage(inPieces(message, size), protection)) parts.push(part)
      assert.ok(Buffer.concat(parts).equals(message), 'given on unchanged')
    } catch (error) {
      assert.ok(isAnnexfsError(error, 'CORRUPT'), String(error))
      return false
    }
  }
  return true
}

test('goal 26: gpg gets only messages that are protected in the way the remote protects them', async () => {
  const join = (...parts: Buffer[]): Buffer => Buffer.concat(parts)
  const table: [Buffer, Protection | 'neither'][] = [
    [join(old(3, 13), DATA), 'passphrase'],
    [join(fresh(3, 13), DATA), 'passphrase'],
    [join(five(3, 13), AEAD), 'passphrase'],
    [join(fresh(1, 94), DATA), 'public-key'],
    [join(old(1, 94), fresh(1, 268), five(1, 524), AEAD), 'public-key'],
    [join(old(3, 13), old(3, 13), DATA), 'neither'],
    [join(fresh(1, 94), old(3, 13), DATA), 'neither'],
    [join(old(3, 13), Buffer.from([0xc9, 0xed, 1])), 'neither'],
    [join(fresh(1, 94), Buffer.from([0xa7, 1])), 'neither'],
    [DATA, 'neither'],
    [join(old(8, 5), DATA), 'neither'],
    [join(old(10, 3), old(3, 13), DATA), 'neither'],
    [Buffer.from('-----BEGIN PGP MESSAGE-----\n\njA0ECQMC\n'), 'neither'],
    [Buffer.alloc(0), 'neither'],
    [old(3, 13), 'neither'],
    [Buffer.from([0x8f, 1, 2, 3]), 'neither'],
    [Buffer.from([0xc3, 0xed, 1, 2, 3]), 'neither'],
    [join(...Array.from({ length: 300 }, () => fresh(1, 94)), DATA), 'neither'],
    [join(five(1, 1024 * 1024), DATA), 'neither'],
  ]
  for (const [message, expected] of table) {
    for (const protection of ['passphrase', 'public-key'] as const) {
      assert.equal(await passes(message, protection), protection === expected, message.subarray(0, 8).toString('hex'))
    }
  }
})

test('goal 36: no input makes the look at a message fail otherwise', { timeout: 180_000 }, async (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
  t.diagnostic(`seed ${seed}`)
  const protection = fc.constantFrom<Protection>('passphrase', 'public-key')
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), protection, async (bytes, kind) => {
      await passes(Buffer.from(bytes), kind)
    }),
    { seed, numRuns: 2_000 },
  )
})

test('what is refused lets go of its source', async () => {
  let ended = false
  const source = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) yield Buffer.alloc(1000, 0x85)
    } finally {
      ended = true
    }
  }
  await assert.rejects(checkedMessage(source(), 'passphrase'), { code: 'CORRUPT' })
  assert.ok(ended)
})
