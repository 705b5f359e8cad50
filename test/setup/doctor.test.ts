import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isAtLeast } from '../../lib/setup/checks.js'
import { runDoctor } from '../../lib/setup/doctor.js'

const run = promisify(execFile)

test('every check says what it found, and how to mend what is missing', { timeout: 180_000 }, async () => {
  const report = await runDoctor()
  const names = report.items.map((item) => item.name)
  for (const name of ['node', 'FUSE device', 'fusermount', 'libfuse.so.2 and fuse-native', 'git']) {
    assert.ok(names.includes(name), name)
  }
  for (const item of report.items) {
    assert.notEqual(item.found, '')
    if (!item.ok) assert.notEqual(item.fix ?? '', '', item.name)
  }
  assert.equal(
    report.ok,
    report.items.every((item) => item.ok || !item.needed),
  )
})

test('versions are compared by number', () => {
  assert.ok(isAtLeast('v20.15.1', [20, 15]))
  assert.ok(isAtLeast('git version 2.100.0', [2, 36]))
  assert.ok(isAtLeast('v21.0.0', [20, 15]))
  assert.equal(isAtLeast('v20.9.0', [20, 15]), false)
  assert.equal(isAtLeast('git version 1.99', [2, 36]), false)
  assert.equal(isAtLeast('no number', [2, 36]), false)
})

test('an ordinary user is told the one line to run, when packages are missing', { timeout: 180_000 }, async () => {
  const setup = new URL('../../../cmd/setup.mjs', import.meta.url)
  const code = `
    process.getuid = () => 1000
    const { installPackages } = await import(${JSON.stringify(setup.href)})
    installPackages([['no-such-package-a', 'no-such-package-b'], ['git']])
  `
  const failed = (await run(process.execPath, ['--input-type=module', '-e', code]).catch(
    (error: unknown) => error,
  )) as {
    code: number
    stdout: string
    stderr: string
  }
  assert.equal(failed.code, 1)
  assert.equal(
    failed.stdout,
    'sudo apt-get update && sudo apt-get install -y --no-install-recommends no-such-package-b git\n',
  )
  assert.equal(failed.stderr, '')
  assert.ok(fileURLToPath(setup))
})
