import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { hashDirLower, hashDirMixed } from '../../lib/annex/hash-dirs.js'
import { keyFile, parseKey, type Key } from '../../lib/annex/key.js'
import type { AnnexRemote } from '../../lib/annex/remote.js'
import { directoryStore } from '../../lib/stores/directory.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { temporaryFolder } from '../support/temp.js'
import { readObject, readWhole, storeContract } from './store-contract.js'

const CONTENT = randomBytes(1_234_567)
const KEY = keyOf(`SHA256E-s${CONTENT.length}--abc.b%i&n:/x`)
const ABSENT = keyOf('SHA256-s5--nothing')
const soon = (): AbortSignal => AbortSignal.timeout(60_000)

function keyOf(raw: string): Key {
  const key = parseKey(raw)
  assert.ok(key)
  return key
}

function remoteAt(directory: string): AnnexRemote {
  return {
    uuid: '11111111-2222-3333-4444-555555555555',
    name: 'd',
    kind: 'directory',
    directory,
    cost: 100,
    trust: 'semitrusted',
    ignore: false,
    config: new Map(),
    configured: true,
  }
}

function storeAt(directory: string, forbid: (path: string) => boolean = () => false): ObjectStore {
  return directoryStore({ remote: remoteAt(directory), forbid })
}

async function put(folder: string, path: string, content: Uint8Array): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true })
  await writeFile(join(folder, path), content)
}

async function filled(t: TestContext, hashDir = hashDirLower): Promise<string> {
  const folder = await temporaryFolder(t)
  await put(folder, `${hashDir(KEY)}${keyFile(KEY)}/${keyFile(KEY)}`, CONTENT)
  return folder
}

storeContract('directory', async (t) => ({
  store: storeAt(await filled(t)),
  name: { key: KEY, content: KEY, size: CONTENT.length },
  content: CONTENT,
  absent: { key: ABSENT, content: ABSENT, size: 5 },
}))

storeContract('directory with a tree', async (t) => {
  const folder = await temporaryFolder(t)
  const path = Buffer.from('caf\xe9/a b', 'latin1')
  await mkdir(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from('caf\xe9', 'latin1')]))
  await writeFile(Buffer.concat([Buffer.from(`${folder}/`), path]), CONTENT)
  return {
    store: storeAt(folder),
    name: { key: KEY, content: KEY, path, size: CONTENT.length },
    content: CONTENT,
    absent: { key: KEY, content: KEY, path: Buffer.from('caf\xe9/a', 'latin1') },
  }
})

test('both kinds of hash directory are looked in, and suffixes are told apart', { timeout: 180_000 }, async (t) => {
  const folder = await filled(t, hashDirMixed)
  const store = storeAt(folder)
  const object = await store.open({ key: KEY, content: KEY }, soon())
  assert.equal(object?.size, CONTENT.length)
  object?.close?.()
  const file = keyFile(KEY)
  await put(folder, `${hashDirLower(KEY)}${file}/${file}.chunkcount`, Buffer.from('3'))
  const count = await store.open({ key: KEY, content: KEY, suffix: '.chunkcount' }, soon())
  assert.ok(count)
  t.after(() => count.close?.())
  assert.equal((await readWhole(count, 10)).toString(), '3')
  assert.equal(await store.open({ key: KEY, content: KEY, suffix: '.chunk1' }, soon()), undefined)
})

test('paths of a tree never lead out of the folder', { timeout: 180_000 }, async (t) => {
  const outside = await temporaryFolder(t)
  await put(outside, 'secret', Buffer.from('secret'))
  const folder = await temporaryFolder(t)
  await mkdir(join(folder, 'in'))
  await put(folder, 'in/file', Buffer.from('inside'))
  await symlink(outside, join(folder, 'out'))
  await symlink(join(outside, 'secret'), join(folder, 'link'))
  await symlink('in', join(folder, 'alias'))
  const store = storeAt(folder)
  const open = (path: string) => store.open({ key: KEY, content: KEY, path: Buffer.from(path) }, soon())
  for (const path of ['../x', 'in/../../x', '/etc/passwd', 'in//file', './in', '', 'in/\0', '..']) {
    await assert.rejects(open(path), { code: 'INVALID' }, path)
  }
  assert.equal(await open('out/secret'), undefined)
  assert.equal(await open('link'), undefined)
  assert.equal(await open('in'), undefined)
  const object = await open('alias/file')
  assert.ok(object)
  t.after(() => object.close?.())
  assert.equal((await readObject(object, { start: 0, end: 6 })).toString(), 'inside')
})

test(
  'goal 12: a folder inside the mount is not read, nor one that a link leads to',
  { timeout: 180_000 },
  async (t) => {
    const folder = await filled(t)
    const name = { key: KEY, content: KEY }
    await assert.rejects(storeAt(folder, (path) => path.startsWith(folder)).open(name, soon()), { code: 'FORBIDDEN' })
    const holder = await temporaryFolder(t)
    await symlink(folder, join(holder, 'd'))
    const forbid = (path: string): boolean => path.startsWith(folder)
    await assert.rejects(storeAt(join(holder, 'd'), forbid).open(name, soon()), { code: 'FORBIDDEN' })
  },
)

test('a folder that is away is said to be away, and used again when it is back', { timeout: 180_000 }, async (t) => {
  const folder = await filled(t)
  const store = storeAt(folder)
  const name = { key: KEY, content: KEY }
  await rename(folder, `${folder}.away`)
  await assert.rejects(store.open(name, soon()), { code: 'UNAVAILABLE', message: /is its disk mounted/ })
  await rename(`${folder}.away`, folder)
  const object = await store.open(name, soon())
  assert.ok(object)
  object.close?.()
})
