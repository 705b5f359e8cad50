import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmod, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { annexWorld } from '../support/annex.js'
import { engineFor, readFrom } from '../support/engine.js'
import { toyWorld } from '../support/external/toy.js'
import { until } from '../support/peers.js'

const LIMIT = { timeout: 180_000 }
const content = randomBytes(500_077)
/** Sources are looked for afresh after a failure not before this, in milliseconds. */
const LOOKS_AGAIN = 2_100

/** The file below `folder` that holds the content of a key. */
async function objectBelow(folder: string): Promise<string> {
  const names = await readdir(folder, { recursive: true })
  const name = names.find((one) => /\/(MD5|SHA)[^/]*\/(MD5|SHA)[^/]*$/.test(`/${one}`))
  assert.ok(name !== undefined, names.join(' '))
  return join(folder, name)
}

async function replace(object: string, bytes: Uint8Array): Promise<void> {
  await chmod(dirname(object), 0o755)
  await writeFile(`${object}.new`, bytes)
  await rename(`${object}.new`, object)
}

test('content that is wrong at the only remote is read as soon as it has been put right there', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { f: content })
  const shelf = join(world.folder, 'shelf')
  await world.run('.', 'mkdir', ['shelf'])
  await world.annex('a', 'initremote', '--quiet', 'shelf', 'type=directory', `directory=${shelf}`, 'encryption=none')
  await world.annex('a', 'move', '--quiet', '--to', 'shelf', 'f')
  const object = await objectBelow(shelf)
  const wrong = Buffer.from(content)
  wrong[300_000] = (wrong[300_000] ?? 0) ^ 1
  await replace(object, wrong)
  const engine = await engineFor(t, repository)
  const read = () => readFrom(engine, '/f', 0, content.length)
  // Without hashes of pieces, what is wrong shows when all of it is there: by the end of the first read, or soon after.
  let said: string | undefined
  for (let times = 0; said === undefined && times < 100; times++) {
    said = await read().then(
      () => undefined,
      (error: Error) => error.message,
    )
  }
  await assert.rejects(read(), /shelf \(directory\): gave wrong bytes of it before; it is asked again in \d+ s/)
  const fetched = engine.fetched.get('shelf (directory)')
  await sleep(LOOKS_AGAIN)
  await assert.rejects(read(), /it is asked again in \d+ s/)
  assert.equal(engine.fetched.get('shelf (directory)'), fetched, 'nothing is transferred meanwhile')
  await replace(object, content)
  await until('it is read', () =>
    read().then(
      (bytes) => content.equals(bytes),
      () => false,
    ),
  )
})

test(
  'a program that brought wrong content is asked again when the location log tells of another copy',
  LIMIT,
  async (t) => {
    const made = await toyWorld(t, content)
    const { world } = made
    const toy = join(world.folder, 'toy')
    const where = ['type=external', 'externaltype=toy', `directory=${toy}`, 'encryption=none']
    await world.annex('repo', 'initremote', 'toy', ...where)
    await world.annex('repo', 'copy', '--quiet', '--to', 'toy', 'f')
    await world.annex('repo', 'drop', '--quiet', '--force', 'f')
    await rm(join(toy, '.log'))
    const names = (await readdir(toy)).filter((name) => !name.startsWith('.'))
    const [object = ''] = names
    assert.ok((await readFile(join(toy, object))).equals(content), names.join(' '))
    await writeFile(join(toy, object), randomBytes(content.length))
    const retrievals = async () => (await made.notes()).filter((note) => note.startsWith('retrieve')).length
    const engine = await engineFor(t, join(world.folder, 'repo'))
    const read = () => readFrom(engine, '/f', 0, content.length)
    await assert.rejects(read(), /another hash .*; it is asked again in \d+ s/)
    await sleep(LOOKS_AGAIN)
    await assert.rejects(read(), /it is asked again in \d+ s/)
    assert.equal(await retrievals(), 1)
    await writeFile(join(toy, object), content)
    const key = await world.annex('repo', 'lookupkey', 'f')
    const uuid = await world.git('repo', 'config', 'remote.toy.annex-uuid')
    for (const state of ['0', '1']) await world.annex('repo', 'setpresentkey', key, uuid, state)
    // The mount looks at the branch twice a second.
    await until('it is read', () =>
      read().then(
        (bytes) => content.equals(bytes),
        () => false,
      ),
    )
    assert.equal(await retrievals(), 2)
  },
)
