import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { openPieceStore } from '../../lib/cache/open.js'
import type { CachedSpace, PieceStore } from '../../lib/cache/store.js'
import { silentLog } from '../../lib/log/log.js'
import { pieceCount, pieceSize } from '../../lib/space/space.js'
import { bytesOf, cacheFolder, KIB, put, sampleSpace, seedFor } from './support.js'

/** What may be there: for each piece the variant of its bytes that was put last, if any. */
interface Model {
  readonly variants: Map<string, number>
}

interface Real {
  store: PieceStore
  open: CachedSpace[]
  readonly bounded: boolean
  readonly reopen: () => Promise<void>
}

const SPACES = [
  sampleSpace('model a', 9 * 4 * KIB + 17, 4 * KIB),
  sampleSpace('model b', 5 * 40 * KIB + 1, 40 * KIB),
  sampleSpace('model c', 30, 7),
]

abstract class Step implements fc.AsyncCommand<Model, Real> {
  constructor(
    readonly space: number,
    readonly piece: number,
    readonly detail: number,
  ) {}

  check(): boolean {
    return true
  }

  abstract run(model: Model, real: Real): Promise<void>

  toString(): string {
    return `${this.constructor.name}(${this.space}, ${this.piece}, ${this.detail})`
  }

  protected at(real: Real): { readonly cached: CachedSpace; readonly index: number; readonly key: string } {
    const cached = real.open[this.space % real.open.length] as CachedSpace
    const index = this.piece % pieceCount(cached.space)
    return { cached, index, key: `${cached.space.id} ${index}` }
  }
}

class Put extends Step {
  async run(model: Model, real: Real): Promise<void> {
    const { cached, index, key } = this.at(real)
    const stored = await put(cached, index, this.detail % 2)
    assert.ok(stored || real.bounded)
    if (stored) model.variants.set(key, this.detail % 2)
    else model.variants.delete(key)
  }
}

class Read extends Step {
  async run(model: Model, real: Real): Promise<void> {
    const { cached, index, key } = this.at(real)
    const size = pieceSize(cached.space, index)
    const start = this.detail % size
    const end = start + 1 + ((this.detail * 7919) % (size - start))
    const into = Buffer.alloc(end - start)
    const sync = cached.readSync(index, start, end, into)
    const later = await cached.read(index, start, end)
    const variant = model.variants.get(key)
    const expected = variant === undefined ? undefined : bytesOf(cached.space, index, variant).subarray(start, end)
    for (const got of [sync === 'hit' ? into : undefined, later]) {
      if (got === undefined) assert.ok(real.bounded || expected === undefined || sync === 'later', 'missing')
      else assert.ok(expected !== undefined && Buffer.compare(got, expected) === 0, 'other bytes')
    }
    if (!real.bounded) assert.equal(cached.has(index), expected !== undefined)
  }
}

class Drop extends Step {
  async run(model: Model, real: Real): Promise<void> {
    const { cached } = this.at(real)
    await cached.drop()
    for (let index = 0; index < pieceCount(cached.space); index++) model.variants.delete(`${cached.space.id} ${index}`)
  }
}

class Summarise extends Step {
  async run(model: Model, real: Real): Promise<void> {
    const { cached } = this.at(real)
    let expected = 0
    for (let index = 0; index < pieceCount(cached.space); index++) {
      if (model.variants.has(`${cached.space.id} ${index}`)) expected += pieceSize(cached.space, index)
    }
    const { cachedBytes, complete } = cached.summary()
    if (!real.bounded)
      assert.deepEqual({ cachedBytes, complete }, { cachedBytes: expected, complete: expected === cached.space.length })
    else assert.ok(cachedBytes <= expected)
    assert.equal(cached.cachedIn(0, cached.space.length), cachedBytes)
    return Promise.resolve()
  }
}

class Reopen extends Step {
  async run(_model: Model, real: Real): Promise<void> {
    await real.reopen()
  }
}

for (const [name, limitBytes] of [
  ['with room for all', 64 * 1024 * KIB],
  ['with evictions', 256 * KIB],
] as const) {
  test(`any sequence of puts, reads, drops and reopens is as a model says, ${name}`, async (t) => {
    const seed = seedFor(t)
    const numbers = [fc.nat(20), fc.nat(20), fc.nat(100_000)] as const
    const commands = fc.commands(
      [
        fc.tuple(...numbers).map(([a, b, c]) => new Put(a, b, c)),
        fc.tuple(...numbers).map(([a, b, c]) => new Put(a, b, c)),
        fc.tuple(...numbers).map(([a, b, c]) => new Read(a, b, c)),
        fc.tuple(...numbers).map(([a, b, c]) => new Read(a, b, c)),
        fc.tuple(...numbers).map(([a, b, c]) => new Drop(a, b, c)),
        fc.tuple(...numbers).map(([a, b, c]) => new Summarise(a, b, c)),
        fc.tuple(...numbers).map(([a, b, c]) => new Reopen(a, b, c)),
      ],
      { maxCommands: 60, size: 'max' },
    )
    const parent = await cacheFolder(t)
    let runs = 0
    await fc.assert(
      fc.asyncProperty(commands, async (steps) => {
        const folder = `${parent}/${++runs}`
        const open = async (): Promise<PieceStore> =>
          openPieceStore({ folder, limitBytes, minFreeBytes: 0, log: silentLog, memoryBytes: 0 })
        const store = await open()
        const real: Real = {
          store,
          bounded: limitBytes < 1024 * KIB,
          open: SPACES.map((space) => store.open(space)),
          reopen: async () => {
            await real.store.close()
            real.store = await open()
            real.open = SPACES.map((space) => real.store.open(space))
          },
        }
        try {
          await fc.asyncModelRun(() => ({ model: { variants: new Map() }, real }), steps)
        } finally {
          await real.store.close()
        }
      }),
      { numRuns: 60, seed, interruptAfterTimeLimit: 15_000 },
    )
  })
}
