import { randomBytes } from 'node:crypto'
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { gitBlobSource } from '../../lib/sources/git-blob.js'
import type { Source } from '../../lib/sources/source.js'
import { annexWorld } from '../support/annex.js'
import { readAll, sourceContract, spaceOf } from './contract.js'

async function blob(t: TestContext): Promise<{ source: Source; content: Buffer; git: GitRepository }> {
  const world = await annexWorld(t)
  const content = randomBytes(7_000_001)
  const path = await world.repository('r', { plain: true })
  await world.write('r', 'f.bin', content)
  await world.git('r', 'add', 'f.bin')
  await world.git('r', 'commit', '--quiet', '-m', 'add')
  const sha = await world.git('r', 'rev-parse', 'HEAD:f.bin')
  const git = await GitRepository.open(path, silentLog)
  t.after(() => git.close())
  return { source: gitBlobSource({ git, sha }), content, git }
}

sourceContract('git blob', blob)

test('what is not a blob of that size is not found', { timeout: 180_000 }, async (t) => {
  const { git, content } = await blob(t)
  const commit = gitBlobSource({ git, sha: (await git.objects.info('HEAD'))?.sha ?? '' })
  assert.equal(await commit.find(spaceOf(content.length), AbortSignal.timeout(60_000)), undefined)
  const absent = gitBlobSource({ git, sha: '0'.repeat(40) })
  assert.equal(await absent.find(spaceOf(content.length), AbortSignal.timeout(60_000)), undefined)
})

test('a blob is read in order through one git process', { timeout: 180_000 }, async (t) => {
  const { source, content } = await blob(t)
  t.after(() => source.close?.())
  const holding = await source.find(spaceOf(content.length), AbortSignal.timeout(60_000))
  assert.ok(holding)
  for (let start = 0; start < content.length; start += 1_000_000) {
    const range = { start, end: Math.min(start + 1_000_000, content.length) }
    assert.ok((await readAll(holding, range)).equals(content.subarray(range.start, range.end)))
  }
})
