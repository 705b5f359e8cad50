import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { measured } from '../support/marks.js'
import { temporaryFolder } from '../support/temp.js'
import { HOSTILE } from './hostile-metainfo.js'
import type { Outcome } from './hostile-run.js'

const RUN = fileURLToPath(new URL('./hostile-run.js', import.meta.url))

async function run(paths: readonly string[]): Promise<Outcome[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [RUN, ...paths], { timeout: 120_000 })
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Outcome)
}

test('goal 32: hostile metainfo is refused or given safe distinct names, each within 1 s and 100 MiB', async (t) => {
  assert.ok(HOSTILE.length >= 60)
  const folder = await temporaryFolder(t)
  const files = HOSTILE.map((hostile, index) => ({ hostile, path: join(folder, `${index}.torrent`) }))
  for (const { hostile, path } of files) await writeFile(path, hostile.bytes())
  const outcomes = await run(files.filter(({ hostile }) => hostile.heavy !== true).map(({ path }) => path))
  // What peaks high would hide what comes after it.
  for (const { hostile, path } of files) if (hostile.heavy === true) outcomes.push(...(await run([path])))
  assert.equal(outcomes.length, HOSTILE.length)

  const byPath = new Map(files.map(({ hostile, path }) => [path, hostile]))
  const cost = { milliseconds: { most: 0, name: '' }, mebibytes: { most: 0, name: '' } }
  for (const { path, result, detail, milliseconds, mebibytes } of outcomes) {
    const name = byPath.get(path)?.name ?? ''
    assert.equal(result, byPath.get(path)?.expect, `${name}: ${detail}`)
    assert.ok(mebibytes < 100, `${name} took ${Math.round(mebibytes)} MiB`)
    if (milliseconds > cost.milliseconds.most) cost.milliseconds = { most: milliseconds, name }
    if (mebibytes > cost.mebibytes.most) cost.mebibytes = { most: mebibytes, name }
  }
  const { name, most } = cost.milliseconds
  measured(t, `${outcomes.length} files; slowest: ${name},`, most, { mark: 1000, alarm: 20_000 })
  t.diagnostic(`most memory: ${cost.mebibytes.name}, ${Math.round(cost.mebibytes.most)} MiB`)
})
