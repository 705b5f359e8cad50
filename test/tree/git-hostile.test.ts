import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { deflateSync } from 'node:zlib'
import { AnnexRepository } from '../../lib/annex/repository.js'
import type { Content } from '../../lib/engine/content.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { GitTree } from '../../lib/tree/git-tree.js'
import type { Entry } from '../../lib/tree/tree.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'

const { signal } = new AbortController()

interface RawEntry {
  readonly mode: string
  readonly name: string
  readonly sha: string
}

/** Stores a tree object whatever is in it. */
async function storeTree(world: AnnexWorld, entries: readonly RawEntry[]): Promise<string> {
  const input = Buffer.concat(
    entries.flatMap(({ mode, name, sha }) => [
      Buffer.from(`${mode} `),
      Buffer.from(name, 'latin1'),
      Buffer.from([0]),
      Buffer.from(sha, 'hex'),
    ]),
  )
  return store(world, 'tree', input)
}

async function store(world: AnnexWorld, type: string, input: string | Buffer): Promise<string> {
  const args = ['hash-object', '-t', type, '--literally', '-w', '--stdin']
  return (await world.run('r', 'git', args, { input })).toString().trim()
}

async function mountTree(t: TestContext, world: AnnexWorld, tree: string): Promise<GitTree> {
  await world.git('r', 'update-ref', 'refs/heads/main', await world.git('r', 'commit-tree', '-m', 'x', tree))
  const git = await GitRepository.open(`${world.folder}/r`, silentLog)
  t.after(() => git.close())
  const annex = await AnnexRepository.open(git, silentLog)
  const mounted = await GitTree.open({ git, annex, ref: 'main', log: silentLog })
  t.after(() => mounted.close())
  return mounted
}

function checkNames(entries: readonly Entry<Content>[]): void {
  const names = entries.map(({ name }) => name)
  assert.equal(new Set(names).size, names.length, 'names are distinct')
  for (const name of names) {
    assert.ok(name !== '' && name !== '.' && name !== '..' && name.toLowerCase() !== '.git', JSON.stringify(name))
    assert.ok(!name.includes('/') && !name.includes('\0') && Buffer.byteLength(name) <= 255, JSON.stringify(name))
    assert.equal(Buffer.from(name).toString(), name, 'valid Unicode')
  }
}

async function world(t: TestContext, init: string[] = []): Promise<AnnexWorld> {
  const made = await annexWorld(t)
  await made.repository('r', { plain: true, init })
  return made
}

for (const format of ['sha1', 'sha256']) {
  test(`goal 37: hostile names and modes of a ${format} repository are listed distinct and safe`, async (t) => {
    const repository = await world(t, [`--object-format=${format}`])
    const blob = await store(repository, 'blob', 'content')
    const other = await store(repository, 'blob', 'other')
    const link = await store(repository, 'blob', '../../../../../etc/passwd')
    const inner = await storeTree(repository, [{ mode: '100644', name: 'f', sha: blob }])
    const names = ['', '.', '..', '.git', '.GIT', '.gIt', 'a/b', '../x', '/etc/passwd', 'x', 'x', 'x']
    names.push('\u00ff', '\\xff', '\u00c3\u00a9', 'a\nb', 'y'.repeat(300), 'y'.repeat(301), '\u00c3\u00a9'.repeat(200))
    const entries = [
      ...names.map((name) => ({ mode: '100644', name, sha: blob })),
      ...names.map((name) => ({ mode: '40000', name, sha: inner })),
      { mode: '100755', name: 'exec', sha: blob },
      { mode: '100664', name: 'old', sha: blob },
      { mode: '0100644', name: 'padded', sha: blob },
      { mode: '120000', name: 'passwd', sha: link },
      { mode: '777', name: 'rubbish', sha: blob },
      { mode: '60000', name: 'device', sha: blob },
      { mode: '37777777777', name: 'huge', sha: blob },
      { mode: '100644', name: 'file-of-tree', sha: inner },
      { mode: '120000', name: 'link-of-tree', sha: inner },
      { mode: '40000', name: 'tree-of-blob', sha: other },
      { mode: '100644', name: 'missing', sha: blob.replace(/./g, 'a') },
      { mode: '120000', name: 'missing-link', sha: blob.replace(/./g, 'b') },
      { mode: '160000', name: 'missing-sub', sha: blob.replace(/./g, 'd') },
    ]
    const tree = await mountTree(t, repository, await storeTree(repository, entries))
    const listed = await tree.list('/', signal)
    checkNames(listed)
    assert.ok(listed.length >= 2 * names.length + 10)
    const found = new Map(listed.map(({ name, node }) => [name, node]))
    for (const [name, node] of found) {
      if (node.kind === 'dir') checkNames(await tree.list(`/${name}`, signal))
      assert.equal((await tree.lookup(`/${name}`, signal))?.kind, node.kind)
    }
    assert.deepEqual(await tree.list('/tree-of-blob', signal), [])
    assert.deepEqual(await tree.list('/missing-sub', signal), [])
    const node = found.get('passwd')
    assert.ok(node?.kind === 'link' && node.target === '../../../../../etc/passwd', 'a link is shown and not followed')
    const missing = found.get('missing')
    assert.ok(missing?.kind === 'file' && missing.size === undefined, 'a missing blob does not pass for an empty file')
    const { content } = missing
    assert.ok(content.kind === 'blob')
    assert.throws(
      () => content.size,
      (error) => isAnnexfsError(error, 'UNAVAILABLE'),
    )
    const exec = found.get('exec')
    assert.ok(exec?.kind === 'file' && exec.executable)
    assert.equal(await tree.lookup('/../etc/passwd', signal), undefined)
    assert.equal(await tree.lookup('/passwd/x', signal), undefined)
  })
}

test('goal 37: damaged trees give what is before the damage; a folder that git lacks is an error of that folder', async (t) => {
  const repository = await world(t)
  const blob = await store(repository, 'blob', 'content')
  const whole = Buffer.concat([Buffer.from('100644 a\0'), Buffer.from(blob, 'hex')])
  const cut = await store(repository, 'tree', Buffer.concat([whole, Buffer.from('100644 b\0'), Buffer.from('abc')]))
  const rubbish = await store(repository, 'tree', 'this is no tree')
  const empty = await store(repository, 'tree', '')
  const tree = await mountTree(
    t,
    repository,
    await storeTree(repository, [
      { mode: '40000', name: 'absent', sha: 'e'.repeat(40) },
      { mode: '40000', name: 'cut', sha: cut },
      { mode: '40000', name: 'empty', sha: empty },
      { mode: '40000', name: 'rubbish', sha: rubbish },
    ]),
  )
  assert.equal((await tree.list('/', signal)).length, 4)
  const names = (await tree.list('/cut', signal)).map(({ name }) => name)
  assert.deepEqual(names, ['a'])
  assert.deepEqual(await tree.list('/rubbish', signal), [])
  assert.deepEqual(await tree.list('/empty', signal), [])
  await assert.rejects(tree.list('/absent', signal), (error) => isAnnexfsError(error, 'UNAVAILABLE'))
})

test('goal 37: links that lead round and round, and links that no system takes', async (t) => {
  const repository = await world(t)
  const targets = ['b', 'a', '.', '', 'x'.repeat(5000), 'a\0b', '../.git/annex/objects/x/nokey', 'y.\u00ff/z']
  const entries: RawEntry[] = []
  for (const [index, target] of targets.entries()) {
    const sha = await store(repository, 'blob', Buffer.from(target, 'latin1'))
    entries.push({ mode: '120000', name: `l${index}`, sha })
  }
  const tree = await mountTree(t, repository, await storeTree(repository, entries))
  const kinds = (await tree.list('/', signal)).map(({ node }) => (node.kind === 'link' ? node.target : node.kind))
  assert.deepEqual(kinds, ['b', 'a', '.', 'file', 'file', 'file', '../.git/annex/objects/x/nokey', 'y.\\xff/z'])
})

test('goal 37: a tree 20,000 folders deep', { timeout: 180_000 }, async (t) => {
  const repository = await world(t)
  const depth = 20_000
  const blob = await store(repository, 'blob', 'bottom')
  let input = `blob\nmark :1\ndata 6\nbottom\n`
  input += `commit refs/heads/deep\ncommitter T <t@e> 1700000000 +0000\ndata 0\nM 100644 ${blob} f\n`
  await repository.run('r', 'git', ['fast-import', '--quiet'], { input })
  let below = await repository.git('r', 'rev-parse', 'deep^{tree}')
  // A pack of all levels at once; a process a level would take minutes.
  const objects: Buffer[] = []
  for (let level = 0; level < depth; level++) {
    const body = Buffer.concat([Buffer.from('40000 d\0'), Buffer.from(below, 'hex')])
    below = createHash('sha1').update(`tree ${body.length}\0`).update(body).digest('hex')
    // Pack entry: type 2 (tree), 28 bytes.
    objects.push(Buffer.from([0x80 | (2 << 4) | (body.length & 15), body.length >> 4]), deflateSync(body))
  }
  const header = Buffer.alloc(12)
  header.write('PACK')
  header.writeUInt32BE(2, 4)
  header.writeUInt32BE(depth, 8)
  const pack = Buffer.concat([header, ...objects])
  const packed = Buffer.concat([pack, createHash('sha1').update(pack).digest()])
  await repository.run('r', 'git', ['unpack-objects', '-q'], { input: packed })
  const tree = await mountTree(t, repository, below)
  const path = '/d'.repeat(depth)
  assert.deepEqual(
    (await tree.list(path, signal)).map(({ name }) => name),
    ['f'],
  )
  assert.equal((await tree.lookup(`${path}/f`, signal))?.kind, 'file')
  assert.equal(await tree.lookup(`${path}/d/d`, signal), undefined)
})
