import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { HEAD, indexRanges, isMedia } from '../../lib/reader/media.js'

const MIB = 1024 * 1024
const GIB = 1024 * MIB

function box(type: string, payload: Buffer, length = payload.length + 8): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(length)
  head.write(type, 4, 'latin1')
  return Buffer.concat([head, payload])
}

function wideBox(type: string, length: number): Buffer {
  const head = Buffer.alloc(16)
  head.writeUInt32BE(1)
  head.write(type, 4, 'latin1')
  head.writeBigUInt64BE(BigInt(length), 8)
  return head
}

const FTYP = box('ftyp', Buffer.from('isomiso2avc1mp41\0\0\0\0'))

function element(id: string, ...parts: Buffer[]): Buffer {
  const payload = Buffer.concat(parts)
  const length = Buffer.alloc(8)
  length.writeBigUInt64BE(BigInt(payload.length))
  length[0] = 1
  return Buffer.concat([Buffer.from(id, 'hex'), length, payload])
}

function seek(id: string, position: number): Buffer {
  const number = Buffer.alloc(8)
  number.writeBigUInt64BE(BigInt(position))
  return element('4dbb', element('53ab', Buffer.from(id, 'hex')), element('53ac', number))
}

test('the index of an MP4 is looked for after its media data, when it is not before', () => {
  const small = box('mdat', Buffer.alloc(64), 300 * MIB)
  const table: [string, Buffer, number, number | undefined][] = [
    ['at the end', Buffer.concat([FTYP, box('free', Buffer.alloc(0)), small]), 310 * MIB, FTYP.length + 8 + 300 * MIB],
    ['at the end, wide', Buffer.concat([FTYP, wideBox('mdat', 5 * GIB)]), 5 * GIB + MIB, FTYP.length + 5 * GIB],
    ['at the start', Buffer.concat([FTYP, box('moov', Buffer.alloc(40)), small]), 310 * MIB, undefined],
    ['media data to the end', Buffer.concat([FTYP, box('mdat', Buffer.alloc(64), 0)]), 310 * MIB, undefined],
    ['cut off', Buffer.concat([FTYP, small]), 200 * MIB, undefined],
    ['no MP4', Buffer.alloc(4096, 'x'), 310 * MIB, undefined],
  ]
  for (const [name, head, size, start] of table) {
    assert.equal(indexRanges(head, size)[0]?.start, start, name)
  }
})

test('the Cues of a Matroska file are where its SeekHead says', () => {
  const header = element('1a45dfa3', Buffer.from('4282886d6174726f736b61', 'hex'))
  const segment = Buffer.from('1853806701ffffffffffffff', 'hex')
  const seekHead = element('114d9b74', seek('1549a966', 500), seek('1c53bb6b', 700 * MIB))
  const head = Buffer.concat([header, segment, element('ec', Buffer.alloc(20)), seekHead])
  const start = header.length + segment.length + 700 * MIB
  assert.deepEqual(indexRanges(head, 701 * MIB), [{ start, end: Math.min(701 * MIB, start + 8 * MIB) }])
  assert.deepEqual(indexRanges(head, 600 * MIB), [], 'not beyond the end')
  const none = Buffer.concat([header, segment, element('114d9b74', seek('1549a966', 500))])
  assert.deepEqual(indexRanges(none, 701 * MIB), [])
})

test('an AVI has its index after the list of its media data', () => {
  const riff = Buffer.from('RIFF\0\0\0\0AVI ', 'latin1')
  const hdrl = Buffer.from('LIST\x10\0\0\0hdrl', 'latin1')
  const movi = Buffer.from('LIST\0\0\0\0movi', 'latin1')
  movi.writeUInt32LE(400 * MIB, 4)
  const head = Buffer.concat([riff, hdrl, Buffer.alloc(12), movi])
  assert.equal(indexRanges(head, 401 * MIB)[0]?.start, 12 + 24 + 8 + 400 * MIB)
})

test('whatever the bytes are, ranges are few, bounded and within the file', () => {
  const prefix = fc.constantFrom(
    FTYP,
    Buffer.from('1a45dfa380', 'hex'),
    Buffer.from('1a45dfa3801853806701ffffffffffffff114d9b74', 'hex'),
    Buffer.from('RIFF\0\0\0\0AVI LIST', 'latin1'),
    Buffer.alloc(0),
  )
  fc.assert(
    fc.property(prefix, fc.uint8Array({ maxLength: HEAD }), fc.nat(2 ** 31 - 1), (start, rest, size) => {
      const head = Buffer.concat([start, rest])
      const ranges = indexRanges(head, size)
      assert.ok(ranges.length <= 1)
      for (const range of ranges) {
        assert.ok(isMedia(head))
        assert.ok(range.start > 0 && range.start < range.end && range.end <= size)
        assert.ok(range.end - range.start <= 8 * MIB)
      }
    }),
    { numRuns: 3000 },
  )
})
