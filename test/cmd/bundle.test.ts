import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'node:test'
import { PROGRAM } from '../support/session.js'

const BUNDLE = new URL('../../bundle/', import.meta.url)

test('the programs are joined into few files, in which each module still says where it was', async () => {
  const names = await readdir(BUNDLE)
  assert.ok(names.includes('main.mjs') && names.includes('mount-helper.mjs'), names.join(', '))
  const places = new Set<string>()
  for (const name of names) {
    const text = await readFile(new URL(name, BUNDLE), 'utf8')
    for (const [, place = ''] of text.matchAll(/new URL\("(\.\.\/[^"]+)",\s*import\.meta\.url\)/g)) places.add(place)
  }
  assert.ok(places.size > 5, [...places].join(', '))
  for (const place of places) assert.ok(existsSync(fileURLToPath(new URL(place, BUNDLE))), place)
})

test('what is started is the joined program, and it is no other than the modules', async () => {
  const run = promisify(execFile)
  const modules = fileURLToPath(new URL('../../cmd/main.js', import.meta.url))
  const [joined, apart] = await Promise.all([PROGRAM, modules].map((path) => run(process.execPath, [path, '--help'])))
  assert.equal(joined?.stdout, apart?.stdout)
  const loaded = await run(process.execPath, [PROGRAM, '--version'], {
    env: { ...process.env, NODE_DEBUG: 'esm' },
  })
  assert.match(loaded.stderr, /bundle\/main\.mjs/)
  assert.doesNotMatch(loaded.stderr, /dist\/cmd\/main\.js/)
})
