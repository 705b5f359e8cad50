import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PieceSpace, SpaceId } from '../../lib/space/space.js'
import { BLOCK_LENGTH, type Giver } from '../../lib/swarm/assembly.js'
import { AssemblyMemory } from '../../lib/swarm/assembly-memory.js'
import { Blame } from '../../lib/swarm/blame.js'
import { Picker } from '../../lib/swarm/picker.js'

const BLOCKS = 4
const SPACE: PieceSpace = {
  id: 'btih:00' as SpaceId,
  length: 100 * BLOCKS * BLOCK_LENGTH,
  pieceLength: BLOCKS * BLOCK_LENGTH,
  hashes: { algorithm: 'sha1', at: () => new Uint8Array(20) },
}

/** A peer that has everything and gives nothing until it is asked to in the test. */
class Holder implements Giver {
  readonly asked: string[] = []
  readonly owed = new Map<string, (error: Error | null, block?: Uint8Array) => void>()

  constructor(
    readonly address: string,
    readonly most: number,
    readonly bytesPerSecond = 0,
  ) {}

  room(hurry = false): number {
    return (hurry ? 10 * this.most : this.most) - this.owed.size
  }

  speed(): number {
    return this.bytesPerSecond
  }

  has(): boolean {
    return true
  }

  request(index: number, offset: number, _length: number, done: (error: Error | null) => void): void {
    const block = `${index}/${offset / BLOCK_LENGTH}`
    this.asked.push(block)
    this.owed.set(block, done)
  }

  cancel(index: number, offset: number): void {
    const block = `${index}/${offset / BLOCK_LENGTH}`
    const done = this.owed.get(block)
    this.owed.delete(block)
    done?.(new Error('cancelled'))
  }
}

function pickerOf(...holders: readonly Holder[]): Picker {
  const blame = new Blame()
  for (const { address } of holders) blame.right(new Set([address]))
  const picker = new Picker(SPACE, new AssemblyMemory(SPACE.length, 0), blame, 60_000, {
    arrived: async () => undefined,
    failed: () => undefined,
    ban: () => undefined,
  })
  for (const one of holders) picker.join(one)
  return picker
}

test('who gives up pieces one after the other has nothing asked for in their place meanwhile', () => {
  const holder = new Holder('10.0.0.1', 2)
  const picker = pickerOf(holder)
  for (const index of [1, 2, 3]) picker.want(index, 'readahead')
  assert.deepEqual(holder.asked, ['1/0', '1/1'])
  for (const index of [1, 2]) picker.cancel(index)
  assert.deepEqual(holder.asked, ['1/0', '1/1'])
  assert.equal(holder.owed.size, 0)
  picker.askAll()
  assert.deepEqual(holder.asked.slice(2), ['3/0', '3/1'])
  picker.close()
})

test('a read that begins to wait alone is not put off by what was asked for in advance', () => {
  const holder = new Holder('10.0.0.1', 2)
  const picker = pickerOf(holder)
  picker.want(1, 'readahead')
  picker.want(50, 'read')
  assert.deepEqual(holder.asked, ['1/0', '1/1', '50/0', '50/1', '50/2', '50/3'])
  // The kernel reads on while that one waits: what follows has time.
  picker.want(51, 'read')
  assert.equal(holder.asked.length, 6)
  picker.close()
})

test('several peers share a read that begins to wait by their speeds', () => {
  const [fast, slow] = [new Holder('10.0.0.1', 1, 3e6), new Holder('10.0.0.2', 1, 1e6)]
  const picker = pickerOf(fast, slow)
  picker.want(50, 'read')
  assert.deepEqual(fast.asked, ['50/0', '50/1', '50/2'])
  assert.deepEqual(slow.asked, ['50/3'])
  picker.close()
})
