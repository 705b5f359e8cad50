import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { AnnexfsError } from '../../lib/errors.js'
import { compatibleDecode } from '../../lib/torrent/bencode-compat.js'
import { decodeBencode, encodeBencode } from '../../lib/torrent/bencode.js'
import { parseMagnet } from '../../lib/torrent/magnet.js'
import { parseMetainfo } from '../../lib/torrent/metainfo.js'
import { measured } from '../support/marks.js'
import { makeInfo } from '../support/metainfo.js'
import { millisecondsOf } from './cost.js'
import { parseMagnetList } from '../../lib/tree/torrent-read.js'

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
/** Milliseconds each parser is fuzzed for; longer before a release. */
const BUDGET = Number(process.env['FUZZ_MS'] ?? 2_000)

const VALID = encodeBencode({
  announce: 'udp://127.0.0.1:1/',
  'announce-list': [['udp://127.0.0.1:1/'], ['http://127.0.0.1/']],
  nodes: [['127.0.0.1', 6881]],
  'url-list': ['http://127.0.0.1/'],
  info: makeInfo({
    files: [
      { path: ['a', 'b'], length: 16_384, attr: 'x' },
      { path: ['.pad', '1'], length: 0, attr: 'p' },
      { path: ['c'], length: 5 },
    ],
    extra: {
      'meta version': 2,
      'file tree': { a: { b: new Map([['', { length: 16_384 }]]) }, c: new Map([['', { length: 5 }]]) },
    },
  }),
})

/** Valid metainfo with bytes replaced, taken out, put in, repeated: deeper into the parser than noise gets. */
const mutated = fc
  .array(
    fc.record({
      at: fc.nat({ max: VALID.length }),
      remove: fc.nat({ max: 20 }),
      insert: fc.oneof(
        fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes)),
        fc
          .constantFrom('l', 'd', 'e', 'i-1e', 'i0e', '0:', '-3:', '1:a', '99999999999:', 'le', 'de')
          .map((text) => Buffer.from(text)),
      ),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .map((edits) =>
    edits.reduce(
      (bytes, { at, remove, insert }) => Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]),
      VALID,
    ),
  )
const noise = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))
const grammar = fc
  .array(fc.constantFrom('d', 'l', 'e', 'i1e', 'i-', '1:a', '4:info', '0:', '-1:', '9'), { maxLength: 60 })
  .map((tokens) => Buffer.from(tokens.join('')))

function fuzz<T>(name: string, arbitrary: fc.Arbitrary<T>, parse: (input: T) => unknown): void {
  test(`goal 36: ${name} either reads or refuses whatever it gets, each within a second`, (t) => {
    t.diagnostic(`seed ${SEED}`)
    let runs = 0
    let worst = 0
    const property = fc.property(arbitrary, (input) => {
      runs += 1
      const milliseconds = millisecondsOf(() => {
        try {
          parse(input)
        } catch (error) {
          assert.ok(error instanceof AnnexfsError, String(error))
        }
      })
      worst = Math.max(worst, milliseconds)
    })
    fc.assert(property, {
      seed: SEED,
      numRuns: 1_000_000,
      interruptAfterTimeLimit: BUDGET,
      markInterruptAsFailure: false,
    })
    measured(t, `${runs} inputs; the slowest took`, worst, { mark: 1000, alarm: 20_000 })
  })
}

const bytes = fc.oneof(mutated, noise, grammar)
fuzz('the metainfo parser', bytes, parseMetainfo)
fuzz('the bencode decoder', bytes, (input) => decodeBencode(input))
fuzz('the decoder that packages get', bytes, (input) => compatibleDecode('copies')(input))
fuzz(
  'the magnet parser',
  fc
    .array(
      fc.oneof(
        fc.constantFrom(
          'xt=urn:btih:d2474e86c95b19b8bcfdb92bc12c9d44667cfa36',
          'xt=urn:btmh:12',
          'tr=',
          'tr=http://',
          '%',
        ),
        fc.string({ unit: 'binary' }),
      ),
      { maxLength: 12 },
    )
    .map((parts) => `magnet:?${parts.join('&')}`),
  parseMagnet,
)
fuzz('the reader of magnet lists', noise, parseMagnetList)
