import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { temporaryFolder } from '../support/temp.js'

const run = promisify(execFile)
const DEMO = fileURLToPath(new URL('../../cmd/demo.js', import.meta.url))

async function demo(environment: NodeJS.ProcessEnv): Promise<string> {
  const child = run(process.execPath, [DEMO], { env: { ...process.env, ...environment }, timeout: 120_000 })
  child.child.stdin?.end()
  const { stdout, stderr } = await child
  assert.doesNotMatch(stderr, /cannot clean up/)
  return stdout
}

test('without arguments a sample is mounted, shown, read and unmounted', async () => {
  const output = await demo({})
  assert.match(output, /recording\.wav/)
  assert.match(output, /Read 2\d\d KiB, fetched \d+ KiB of the 128 MiB/)
  assert.match(output, /Unmounted\.\n$/)
})

test('without git-annex the sample is a torrent alone, and it is read, too', async (t) => {
  const folder = join(await temporaryFolder(t), 'bin')
  await mkdir(folder)
  for (const program of ['git', 'ls', 'dd', 'umount', 'mount', 'fusermount3', 'fusermount']) {
    const found = await run('sh', ['-c', `command -v ${program}`]).catch(() => undefined)
    if (found !== undefined) await symlink(found.stdout.trim(), join(folder, program))
  }
  const output = await demo({ PATH: folder })
  assert.match(output, /git-annex is not installed/)
  assert.match(output, /Read 64\.\d KiB, fetched [\d.]+ KiB of the 64\.0 MiB/)
  assert.match(output, /Unmounted\.\n$/)
})
