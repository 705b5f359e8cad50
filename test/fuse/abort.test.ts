import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { ensureControl, openAbort } from '../../lib/fuse/control.js'
import { mountAt, mountTable } from '../../lib/fuse/mount-table.js'
import { silentLog } from '../../lib/log/log.js'
import { mountInChild, type ChildMount } from '../support/mount.js'
import { bytesOf } from './memory-volume.js'

const MEMORY = new URL('./memory-module.js', import.meta.url)
const FILES = { '/file': { size: 1000, seed: 5 } }

async function deviceOf(mount: ChildMount): Promise<string> {
  return mountAt(await mountTable(), mount.path)?.device ?? ''
}

test(
  'an abort that comes late does not hit the mount that was given the same device number since',
  { timeout: 60_000 },
  async (t) => {
    assert.ok(await ensureControl(silentLog), 'the control files of FUSE are needed (root)')
    const first = await mountInChild(t, MEMORY, FILES)
    const device = await deviceOf(first)
    const abort = await openAbort(device, silentLog)
    assert.ok(abort !== undefined)
    try {
      assert.equal(await first.stop(), 0)
      const others: ChildMount[] = []
      while (others.length < 8) {
        const other = await mountInChild(t, MEMORY, FILES)
        others.push(other)
        if ((await deviceOf(other)) === device) break
      }
      await abort.now()
      for (const other of others) {
        assert.deepEqual(await readFile(`${other.path}/file`), bytesOf(5, 0, 1000))
      }
    } finally {
      await abort.close()
    }
  },
)
