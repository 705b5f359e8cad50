import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { NATIVE_FILE } from '../../lib/native/part.js'
import { cacheFolder } from './support.js'

const run = promisify(execFile)
const FILL = fileURLToPath(new URL('./fill.js', import.meta.url))

test('what is stored with the native part and without it is the same', { timeout: 180_000 }, async (t) => {
  const folder = await cacheFolder(t)
  const fill = async (native: 'on' | 'off', ...names: string[]): Promise<unknown> => {
    const { stdout } = await run(process.execPath, [FILL, folder, ...names], {
      env: { ...process.env, ANNEXFS_NATIVE: native },
    })
    return JSON.parse(stdout)
  }
  const all = { right: 10, wrong: 0, miss: 0 }
  const first = await fill('off', 'without')
  assert.deepEqual(first, { native: false, stored: 10, seen: [all, all] })
  const second = await fill('on', 'with', 'without')
  assert.deepEqual(second, { native: existsSync(NATIVE_FILE), stored: 10, seen: [all, all, all, all] })
  const third = await fill('off', 'again', 'with')
  assert.deepEqual(third, { native: false, stored: 10, seen: [all, all, all, all] })
})
