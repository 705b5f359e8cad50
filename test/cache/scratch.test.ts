import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { Scratch } from '../../lib/cache/scratch.js'
import { silentLog } from '../../lib/log/log.js'
import { temporaryFolder } from '../support/temp.js'

const MIB = 1_048_576

test('a file of a transfer that is complete holds no more room than it takes', async (t) => {
  let held = 0
  const give = (bytes: number): void => void (held -= bytes)
  const room = {
    limitBytes: 64 * MIB,
    reserve: async (bytes: number) => {
      held += bytes
      return Promise.resolve(held <= 64 * MIB)
    },
    written: give,
    unused: give,
    removed: () => undefined,
  }
  const scratch = new Scratch(await temporaryFolder(t), room, silentLog)
  t.after(() => scratch.close())
  for (const size of [MIB + 1, 1, 0]) {
    const known = await scratch.take(size)
    assert.ok(known !== undefined)
    await writeFile(known.path, Buffer.alloc(size, 1))
    // File systems give whole blocks.
    assert.ok(await known.grown(Math.ceil(size / 4096) * 4096))
    assert.ok(held <= 4 * MIB, `${held} bytes are held for a file of ${size} while it may grow`)
    known.complete()
    assert.equal(held, 0)
    await known.remove()
    assert.equal(held, 0)
  }
})
