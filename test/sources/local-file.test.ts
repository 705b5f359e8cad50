import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { appendFile, chmod, link, mkdir, rename, symlink, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { openLocalFile } from '../../lib/sources/local-file.js'
import { patiently } from '../../lib/sources/patience.js'
import { temporaryFolder } from '../support/temp.js'

const soon = (): AbortSignal => AbortSignal.timeout(60_000)

test('only a regular file of the right size is opened', { timeout: 180_000 }, async (t) => {
  const folder = await temporaryFolder(t)
  const at = (name: string): string => join(folder, name)
  const content = randomBytes(1000)
  await writeFile(at('right'), content)
  await writeFile(at('short'), content.subarray(1))
  await symlink(at('right'), at('link'))
  await mkdir(at('folder'))
  execFileSync('mkfifo', [at('pipe')])
  for (const name of ['absent', 'folder', 'pipe', 'link', 'short', 'right/below', 'x'.repeat(300)]) {
    assert.equal(await openLocalFile(at(name), 1000), undefined, name)
  }
  assert.equal(await openLocalFile('/dev/zero', undefined), undefined)
  const file = await openLocalFile(at('right'), 1000)
  assert.ok(file)
  assert.ok(Buffer.from(await file.read(0, 1000)).equals(content))
  file.close()
})

test('a file that changes while it is read is an error, not a mixture', { timeout: 180_000 }, async (t) => {
  const folder = await temporaryFolder(t)
  const changes: Record<string, (path: string) => Promise<void>> = {
    grown: (path) => appendFile(path, 'x'),
    cut: (path) => truncate(path, 10),
    touched: (path) => utimes(path, 1, 1),
  }
  for (const [name, change] of Object.entries(changes)) {
    const path = join(folder, name)
    await writeFile(path, randomBytes(5_000))
    const file = await openLocalFile(path, 5_000)
    assert.ok(file)
    await change(path)
    await assert.rejects(file.read(0, 5_000), (error) => isAnnexfsError(error, 'CORRUPT'), name)
    file.close()
  }
})

test('a file that is replaced goes on being read as it was', { timeout: 180_000 }, async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'f')
  const content = randomBytes(5_000)
  await writeFile(path, content)
  const file = await openLocalFile(path, 5_000)
  assert.ok(file)
  await writeFile(`${path}.new`, randomBytes(5_000))
  await rename(`${path}.new`, path)
  assert.ok(Buffer.from(await file.read(0, 5_000)).equals(content))
  file.close()
})

test('a local file tells whether it is settled, and reads synchronously', { timeout: 180_000 }, async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'f')
  const content = randomBytes(100_000)
  await writeFile(path, content)
  await chmod(path, 0o444)
  const file = await openLocalFile(Buffer.from(path), 100_000)
  assert.ok(file)
  assert.equal(file.settled, true)
  const into = Buffer.alloc(777)
  file.readSync(1234, into)
  assert.ok(into.equals(content.subarray(1234, 1234 + 777)))
  assert.ok(Buffer.from(await file.read(0, 100_000)).equals(content))
  assert.throws(
    () => file.readSync(99_999, Buffer.alloc(2)),
    (error) => isAnnexfsError(error, 'CORRUPT'),
  )

  await link(path, join(folder, 'second'))
  const linked = await openLocalFile(path, undefined)
  assert.equal(linked?.settled, false)
  await chmod(path, 0o644)
  linked?.close()
  assert.equal(await openLocalFile(path, 99_999), undefined)

  const late = file.read(0, 100_000)
  file.close()
  file.close()
  assert.equal((await late).length, 100_000)
  await assert.rejects(file.read(0, 1), (error) => isAnnexfsError(error, 'SYSTEM'))
})

test('a file system that never answers costs two waits, then is refused at once', { timeout: 180_000 }, async (t) => {
  // Timers of signals do not keep the process; nothing else here does.
  const awake = setInterval(() => undefined, 1_000)
  t.after(() => clearInterval(awake))
  const answers: (() => void)[] = []
  const hung = (): Promise<string> => new Promise((resolve) => answers.push(() => resolve('late')))
  const given: string[] = []
  const wait = (): Promise<string> => patiently('/dead', AbortSignal.timeout(50), hung, (late) => given.push(late))
  await assert.rejects(wait(), (error) => isAnnexfsError(error, 'TIMED_OUT'))
  await assert.rejects(wait(), (error) => isAnnexfsError(error, 'TIMED_OUT'))
  await assert.rejects(wait(), (error) => isAnnexfsError(error, 'UNAVAILABLE'))
  assert.equal(answers.length, 2)
  assert.equal(await patiently('/alive', soon(), () => Promise.resolve('fine')), 'fine')
  for (const answer of answers) answer()
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(given, ['late', 'late'])
  await assert.rejects(wait(), (error) => isAnnexfsError(error, 'TIMED_OUT'))
  answers.at(-1)?.()
})
