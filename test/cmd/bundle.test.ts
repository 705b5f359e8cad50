import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'node:test'
import { PROGRAM } from '../support/session.js'

const BUNDLE = new URL('../../bundle/', import.meta.url)
const LOADER = fileURLToPath(new URL('../../lib/load.cjs', import.meta.url))

test('the programs are joined into few files, in which each module still says where it was', async () => {
  const names = await readdir(BUNDLE)
  for (const program of ['main', 'mount-helper', 'swarm'])
    assert.ok(fileOf(names, program, 'cjs') !== undefined, names.join(', '))
  const places = new Set<string>()
  for (const name of names) {
    const text = await readFile(new URL(name, BUNDLE), 'utf8')
    for (const [, place = ''] of text.matchAll(/new URL\("(\.\.\/[^"]+)",\s*bundlePlace\)/g)) places.add(place)
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
  assert.doesNotMatch(loaded.stderr, /dist\/cmd\/main\.js/)
})

test('what was compiled beforehand is used, and by another V8 left alone', async () => {
  const load = `
    const script = require(${JSON.stringify(LOADER)})('main', '')
    process.on('exit', () => process.stderr.write(String(script.cachedDataRejected)))`
  const start = async (...flags: string[]): Promise<{ stdout: string; stderr: string }> =>
    promisify(execFile)(process.execPath, [...flags, '-e', load, 'annexfs', '--version'])
  const [same, other] = await Promise.all([start(), start('--no-opt')])
  assert.equal(same.stderr, 'false')
  assert.equal(other.stderr, 'true')
  assert.equal(same.stdout, other.stdout)
  assert.match(same.stdout, /^annexfs \d/)
})

test('the name of what was compiled says of which program text it is', async () => {
  const names = await readdir(BUNDLE)
  const program = fileOf(names, 'main', 'cjs') ?? ''
  assert.equal(fileOf(names, 'main', 'cache'), program.replace(/cjs$/, 'cache'))
  const hash = createHash('sha256').update(await readFile(new URL(program, BUNDLE)))
  assert.equal(program, `main-${hash.digest('hex').slice(0, 16)}.cjs`)
})

function fileOf(names: readonly string[], program: string, kind: string): string | undefined {
  return names.find((name) => name.startsWith(`${program}-`) && name.endsWith(`.${kind}`))
}
