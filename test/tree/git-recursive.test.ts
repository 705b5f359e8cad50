import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join, normalize } from 'node:path'
import { test, type TestContext } from 'node:test'
import { pathToFileURL } from 'node:url'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { cloneCandidates, relativeUrl, riaRepository } from '../../lib/git/clone-candidates.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog, textLog, type Log } from '../../lib/log/log.js'
import { addressPolicy, type AddressPolicy } from '../../lib/net/address-policy.js'
import { HttpClient } from '../../lib/net/http-client.js'
import { GitTree } from '../../lib/tree/git-tree.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { httpServer, type TestServer } from '../support/http.js'
import { measured } from '../support/marks.js'
import { until } from '../support/peers.js'

const LIMIT = { timeout: 180_000 }
const soon = (): AbortSignal => AbortSignal.timeout(60_000)

interface TreeOptions {
  readonly policy?: AddressPolicy
  readonly log?: Log
  readonly retryAfter?: number
  readonly cache?: string
  readonly forbid?: (path: string) => boolean
}

async function recursiveTree(
  t: TestContext,
  world: AnnexWorld,
  repository: string,
  options: TreeOptions = {},
): Promise<GitTree> {
  const { log = silentLog, policy = addressPolicy({ allow: ['127.0.0.1'] }), forbid = () => false } = options
  const git = await GitRepository.open(join(world.folder, repository), log)
  const annex = await AnnexRepository.open(git, log)
  const client = new HttpClient({ policy, log, idleTimeout: 5_000 })
  const recursive = {
    cacheFolder: join(world.folder, options.cache ?? 'cache'),
    client,
    policy,
    forbid,
    retryAfter: options.retryAfter ?? 60_000,
  }
  const tree = await GitTree.open({ git, annex, ref: undefined, log, recursive })
  t.after(async () => {
    await tree.close()
    await client.close()
    await annex.close()
    await git.close()
  })
  return tree
}

async function names(tree: GitTree, folder: string, signal = soon()): Promise<string[]> {
  return (await tree.list(folder, signal)).map(({ name }) => name).sort()
}

function clones(world: AnnexWorld, cache = 'cache'): string[] {
  try {
    return readdirSync(join(world.folder, cache, 'clones'))
  } catch {
    return []
  }
}

/** `super` with the sub-dataset `d/sub`, which has the sub-dataset `deep`; `clone` is a clone without them. */
async function nested(t: TestContext): Promise<AnnexWorld> {
  const world = await annexWorld(t)
  await world.repository('super')
  await world.addAnnexed('super', { 'out.txt': 'out' })
  await mkdir(join(world.folder, 'super/d'))
  await world.repository('super/d/sub')
  await world.addAnnexed('super/d/sub', { 'in.txt': 'inside' })
  await world.repository('super/d/sub/deep')
  await world.addAnnexed('super/d/sub/deep', { 'deep.txt': 'deeper' })
  // As DataLad has it: below the repository itself.
  await world.git('super/d/sub', 'submodule', '--quiet', 'add', './deep', 'deep')
  await world.git('super/d/sub', 'commit', '--quiet', '-m', 'deep')
  await world.git('super', 'submodule', '--quiet', 'add', './d/sub', 'd/sub')
  await world.git('super', 'commit', '--quiet', '-m', 'sub')
  await world.git('.', 'clone', '--quiet', 'super', 'clone')
  return world
}

/** A web server of plain files, as git's "dumb" protocol takes them. */
async function fileServer(t: TestContext, world: AnnexWorld, host = '127.0.0.1'): Promise<TestServer> {
  return httpServer(
    t,
    (request, response) => {
      const path = normalize(decodeURIComponent((request.url ?? '').replace(/\?.*/, '')))
      readFile(join(world.folder, path)).then(
        (bytes) => response.end(bytes),
        () => response.writeHead(404).end(),
      )
    },
    { host },
  )
}

async function showOnWeb(world: AnnexWorld, ...repositories: string[]): Promise<void> {
  for (const repository of repositories) await world.git(repository, 'update-server-info')
}

test('sub-datasets that are not here are cloned when they are entered, and theirs too', LIMIT, async (t) => {
  const world = await nested(t)
  const tree = await recursiveTree(t, world, 'clone')
  assert.deepEqual(await names(tree, '/'), ['.gitmodules', 'd', 'out.txt'])
  assert.deepEqual(await names(tree, '/d'), ['sub'])
  assert.equal((await tree.lookup('/d/sub', soon()))?.kind, 'dir')
  assert.deepEqual(clones(world), [], 'the parent is listed without them')
  const entered = await Promise.all([
    ...Array.from({ length: 8 }, () => names(tree, '/d/sub')),
    ...Array.from({ length: 8 }, () => names(tree, '/d/sub/deep')),
  ])
  entered.forEach((list, index) => assert.deepEqual(list, index < 8 ? ['.gitmodules', 'deep', 'in.txt'] : ['deep.txt']))
  assert.equal(clones(world).length, 2, 'one clone each')
  assert.ok(!(tree.lookup('/d/sub/deep/deep.txt', soon()) instanceof Promise), 'then it is known')
  const node = await tree.lookup('/d/sub/deep/deep.txt', soon())
  assert.ok(node?.kind === 'file' && node.content.kind === 'key')
  const { annex, key } = node.content
  const uuid = await world.git('super/d/sub/deep', 'config', 'annex.uuid')
  assert.deepEqual(await annex.locations(key), [uuid])
  const remotes = await annex.remotes()
  assert.equal(remotes.find((remote) => remote.uuid === uuid)?.directory, join(world.folder, 'super/d/sub/deep'))
  const folder = join(world.folder, 'cache/clones', clones(world)[0] ?? '')
  assert.equal((await world.run('.', 'find', [folder, '-path', '*annex/objects*'])).toString(), '', 'no content')
})

test('a clone is used again without the network, and learns what is new behind the scenes', LIMIT, async (t) => {
  const world = await nested(t)
  const first = await recursiveTree(t, world, 'clone')
  await names(first, '/d/sub')
  await first.close()
  const before = clones(world)
  const node = 'in.txt'
  await world.annex(
    'super/d/sub',
    'registerurl',
    '--quiet',
    await world.annex('super/d/sub', 'lookupkey', node),
    'http://h/x',
  )
  const again = await recursiveTree(t, world, 'clone')
  assert.deepEqual(await names(again, '/d/sub'), ['.gitmodules', 'deep', 'in.txt'])
  const file = await again.lookup('/d/sub/in.txt', soon())
  assert.ok(file?.kind === 'file' && file.content.kind === 'key')
  const { annex, key } = file.content
  const end = Date.now() + 60_000
  while ((await annex.urls(key)).length === 0) {
    assert.ok(Date.now() < end, 'the URL is learned')
    await annex.changed()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await rename(join(world.folder, 'super'), join(world.folder, 'gone'))
  const offline = await recursiveTree(t, world, 'clone')
  assert.deepEqual(await names(offline, '/d/sub'), ['.gitmodules', 'deep', 'in.txt'])
  assert.deepEqual(clones(world), before)
})

test('what is here is preferred, but for a commit that it lacks', LIMIT, async (t) => {
  const world = await nested(t)
  await world.git('clone', 'submodule', '--quiet', 'update', '--init')
  const here = await recursiveTree(t, world, 'clone')
  assert.deepEqual(await names(here, '/d/sub'), ['.gitmodules', 'deep', 'in.txt'])
  assert.deepEqual(clones(world), [])
  await world.addAnnexed('super/d/sub', { 'more.txt': 'more' })
  await world.git('super', 'add', 'd/sub')
  await world.git('super', 'commit', '--quiet', '-m', 'more')
  await world.git('clone', 'pull', '--quiet', '--no-recurse-submodules')
  const behind = await recursiveTree(t, world, 'clone')
  assert.deepEqual(await names(behind, '/d/sub'), ['.gitmodules', 'deep', 'in.txt', 'more.txt'])
})

test('a recorded commit that no branch has any more is fetched by its id', LIMIT, async (t) => {
  const world = await nested(t)
  await world.git('super/d/sub', 'commit', '--quiet', '--amend', '-m', 'rewritten')
  const tree = await recursiveTree(t, world, 'clone')
  assert.deepEqual(await names(tree, '/d/sub'), ['.gitmodules', 'deep', 'in.txt'])
})

test('one that cannot be cloned is an error that is told, and tried again after a pause', LIMIT, async (t) => {
  const world = await nested(t)
  await rename(join(world.folder, 'super/d/sub'), join(world.folder, 'away'))
  const lines: string[] = []
  const log = textLog('info', (line) => lines.push(line))
  const tree = await recursiveTree(t, world, 'clone', { log, retryAfter: 2_000 })
  const refused = (error: unknown): boolean => {
    return isAnnexfsError(error, 'UNAVAILABLE') && error.message.includes('super/d/sub')
  }
  await assert.rejects(names(tree, '/d/sub'), refused)
  await assert.rejects(async () => tree.lookup('/d/sub/in.txt', soon()), refused)
  const told = (): number => lines.filter((line) => line.includes('cannot be entered')).length
  assert.equal(told(), 1, lines.join(''))
  assert.deepEqual(await names(tree, '/d'), ['sub'], 'its parent is as it was')
  await rename(join(world.folder, 'away'), join(world.folder, 'super/d/sub'))
  await new Promise((resolve) => setTimeout(resolve, 2_100))
  assert.deepEqual(await names(tree, '/d/sub'), ['.gitmodules', 'deep', 'in.txt'])
})

test('over http: relative URLs and the places that DataLad would try', LIMIT, async (t) => {
  const world = await nested(t)
  const server = await fileServer(t, world)
  await showOnWeb(world, 'super', 'super/d/sub', 'super/d/sub/deep')
  for (const path of ['super', 'super/.git']) {
    await world.git('clone', 'remote', 'set-url', 'origin', `${server.url}/${path}`)
    const cache = `cache-${path.length}`
    const tree = await recursiveTree(t, world, 'clone', { cache })
    assert.deepEqual(await names(tree, '/d/sub/deep'), ['deep.txt'], path)
    const node = await tree.lookup('/d/sub/in.txt', soon())
    assert.ok(node?.kind === 'file' && node.content.kind === 'key')
    const origin = (await node.content.annex.remotes()).find((remote) => remote.name === 'origin')
    assert.equal(origin?.url, `${server.url}/super/d/sub/.git`)
  }
})

test('over http: a sub-dataset beside the repository around it, which is not bare', LIMIT, async (t) => {
  const world = await annexWorld(t)
  await world.repository('S/sub')
  await world.addAnnexed('S/sub', { 'in.txt': 'inside' })
  await world.repository('S/sup')
  await world.git('S/sup', 'submodule', '--quiet', 'add', '../sub', 'sub')
  await world.git('S/sup', 'commit', '--quiet', '-m', 'sub')
  await world.git('.', 'clone', '--quiet', 'S/sup', 'clone')
  await world.run('.', 'rm', ['-rf', 'S/sup/sub'])
  const server = await fileServer(t, world)
  await showOnWeb(world, 'S/sub')
  for (const path of ['S/sup/.git', 'S/sup']) {
    await world.git('clone', 'remote', 'set-url', 'origin', `${server.url}/${path}`)
    const tree = await recursiveTree(t, world, 'clone', { cache: `cache-${path.length}` })
    assert.deepEqual(await names(tree, '/sub'), ['in.txt'], path)
  }
  // What `git submodule init` makes of the relative URL, and an absolute one.
  for (const url of [`${server.url}/S/nothing`, `${server.url}/S/sub`]) {
    await world.git('clone', 'config', 'submodule.sub.url', url)
    await world.git('clone', 'remote', 'set-url', 'origin', `${server.url}/S/sup/.git`)
    const tree = await recursiveTree(t, world, 'clone', { cache: `cache-${url.length}` })
    assert.deepEqual(await names(tree, '/sub'), ['in.txt'], url)
  }
})

test('the places over http that a sub-dataset may be at have the name of the git directory at their end, too', () => {
  const places = (remote: string, url: string, configured?: string): readonly string[] =>
    cloneCandidates(
      { remotes: [remote], folder: '/home/r' },
      { path: 'sub', configured, url, dataladUrl: undefined },
    ).candidates.map(({ from }) => from.url)
  assert.deepEqual(places('http://h/S/sup/.git', '../sub'), [
    'http://h/S/sup/sub',
    'http://h/S/sup/sub/.git',
    'http://h/S/sub',
    'http://h/S/sub/.git',
    'http://h/S/sup/.git/sub',
    'http://h/S/sup/.git/sub/.git',
  ])
  assert.deepEqual(places('http://h/S/sup', 'https://g/x', 'https://g/y/.git'), [
    'https://g/y/.git',
    'https://g/x',
    'https://g/x/.git',
    'http://h/S/sup/sub',
    'http://h/S/sup/sub/.git',
  ])
  // Git finds it by itself in folders, and by ssh.
  assert.deepEqual(places('ssh://h/S/sup/.git', '../sub').slice(0, 2), ['ssh://h/S/sup/sub', 'ssh://h/S/sub'])
})

test('goal 24: a sub-dataset never leads to an address that policy forbids', LIMIT, async (t) => {
  const world = await nested(t)
  const canary = await fileServer(t, world, '127.0.0.2')
  await showOnWeb(world, 'super/d/sub')
  const redirecting = await httpServer(t, (request, response) => {
    response.writeHead(302, { location: `${canary.url}/super/d/sub/.git${request.url ?? ''}` }).end()
  })
  const modules = join(world.folder, 'clone/.gitmodules')
  const urls = [
    `${canary.url}/super/d/sub/.git`,
    `http://2130706434:${canary.port}/super/d/sub/.git`,
    `http://[::ffff:127.0.0.2]:${canary.port}/super/d/sub/.git`,
    `${redirecting.url}/x`,
    `git://127.0.0.2:${canary.port}/x`,
    `ssh://127.0.0.2:${canary.port}/x`,
    `joe@127.0.0.2:x`,
    `file://${world.folder}/super/d/sub`,
    `${world.folder}/super/d/sub`,
    '../../../super/d/sub',
  ]
  await world.git('clone', 'remote', 'set-url', 'origin', 'https://super.invalid/repo')
  for (const [index, url] of urls.entries()) {
    await writeFile(modules, `[submodule "d/sub"]\n\tpath = d/sub\n\turl = ${url}\n\tdatalad-url = ${url}\n`)
    await world.git('clone', 'commit', '--quiet', '-a', '-m', 'x')
    const cache = `cache-${index}`
    const tree = await recursiveTree(t, world, 'clone', { cache })
    await assert.rejects(names(tree, '/d/sub'), (error) => isAnnexfsError(error, 'UNAVAILABLE'), url)
    assert.deepEqual(clones(world, cache), [], url)
  }
  assert.equal(canary.connections, 0)
})

test('goal 38: URLs that are options or programs run nothing', LIMIT, async (t) => {
  const world = await nested(t)
  const mark = join(world.folder, 'mark')
  await world.git('clone', 'remote', 'remove', 'origin')
  const urls = [
    `ext::sh -c touch% ${mark}`,
    `--upload-pack=touch ${mark}`,
    `-oProxyCommand=touch ${mark}`,
    `ssh://-oProxyCommand=touch%20${mark}/x`,
    `joe@-oProxyCommand=touch ${mark}:x`,
    `fd::17`,
    `../$(touch ${mark})`,
    `./\`touch ${mark}\``,
    '../../../../../../../../../../../../../../../etc',
    '',
    '.',
    '..',
    'nothing',
  ]
  for (const url of urls) {
    const quoted = `"${url.replace(/["\\]/g, '\\$&')}"`
    await world.write('clone', '.gitmodules', `[submodule "d/sub"]\n\tpath = d/sub\n\turl = ${quoted}\n`)
    await world.git('clone', 'commit', '--quiet', '-a', '-m', 'x')
    for (const configured of [false, true]) {
      if (configured) await world.git('clone', 'config', 'submodule.d/sub.url', url)
      const tree = await recursiveTree(t, world, 'clone')
      await assert.rejects(names(tree, '/d/sub'), (error) => isAnnexfsError(error, 'UNAVAILABLE'), url)
    }
    await world.git('clone', 'config', '--unset', 'submodule.d/sub.url')
  }
  await assert.rejects(readFile(mark))
})

test('a folder inside the mount is not cloned from', LIMIT, async (t) => {
  const world = await nested(t)
  const tree = await recursiveTree(t, world, 'clone', { forbid: (path) => path.includes('/super/') })
  await assert.rejects(
    names(tree, '/d/sub'),
    (error) => isAnnexfsError(error, 'UNAVAILABLE') && /mount/.test(error.message),
  )
})

test('who waits for a server that hangs gets an error at the deadline; closing ends the clone', LIMIT, async (t) => {
  const world = await nested(t)
  let asked = 0
  const server = await httpServer(t, (request, response) => {
    asked++
    // The refs are there; what they name never comes.
    if (!request.url?.includes('/info/refs')) return
    response.end('1111111111111111111111111111111111111111\trefs/heads/main\n')
  })
  await world.git('clone', 'config', 'submodule.d/sub.url', `${server.url}/x`)
  const tree = await recursiveTree(t, world, 'clone')
  const started = performance.now()
  await assert.rejects(names(tree, '/d/sub', AbortSignal.timeout(1500)), (error) => isAnnexfsError(error, 'TIMED_OUT'))
  measured(t, 'an error, with a deadline of 1500 ms, after', performance.now() - started, { mark: 2500, alarm: 45_000 })
  assert.deepEqual(await names(tree, '/d'), ['sub'])
  await until('git is waiting', () => asked > 1)
  const waiting = names(tree, '/d/sub')
  const ended = assert.rejects(waiting)
  const closing = performance.now()
  await tree.close()
  await ended
  measured(t, 'closed after', performance.now() - closing, { mark: 10_000, alarm: 60_000 })
  assert.deepEqual(clones(world), [], 'nothing half done is left')
})

test('a password in a configured URL is not shown', LIMIT, async (t) => {
  const world = await nested(t)
  const server = await fileServer(t, world)
  await world.git('clone', 'config', 'submodule.d/sub.url', `${server.url.replace('//', '//joe:canary-secret@')}/none`)
  const lines: string[] = []
  const tree = await recursiveTree(t, world, 'clone', { log: textLog('debug', (line) => lines.push(line)) })
  assert.deepEqual(await names(tree, '/d/sub'), ['.gitmodules', 'deep', 'in.txt'], 'the next place is tried')
  assert.equal(
    server.requests[0]?.headers.authorization,
    `Basic ${Buffer.from('joe:canary-secret').toString('base64')}`,
  )
  assert.ok(!/canary/.test(lines.join('')))
})

test('relative URLs are resolved as git resolves them, and never change the host', async (t) => {
  const world = await annexWorld(t)
  await world.repository('r', { plain: true })
  await world.git('r', 'update-index', '--add', '--cacheinfo', `160000,${'1'.repeat(40)},x`)
  /** What git itself makes of it. */
  const byGit = async (base: string, relative: string): Promise<string> => {
    await world.git('r', 'config', 'remote.origin.url', base)
    await world.write('r', '.gitmodules', `[submodule "x"]\n\tpath = x\n\turl = ${relative}\n`)
    await world.git('r', 'submodule', '--quiet', 'init')
    const url = await world.git('r', 'config', 'submodule.x.url')
    await world.git('r', 'config', '--unset', 'submodule.x.url')
    return url
  }
  for (const [base, relative] of [
    ['https://h/a/b', '../c'],
    ['https://h/a/b', './c'],
    ['https://h/a/b/', '../../c.git'],
    ['https://h:81/a/b', '../c/d/'],
    ['joe@h:a/b', '../c'],
    ['joe@h:a/b', '../../c'],
    ['h:/a/b', '../c'],
    ['ssh://joe@h:22/a', '../b'],
    ['/srv/a/b', '../c'],
    ['/srv/a/b', './c'],
    ['file:///srv/a', '../c'],
  ] as const) {
    assert.equal(relativeUrl(base, relative), await byGit(base, relative), `${base} ${relative}`)
  }
  for (const [base, relative] of [
    ['https://h/a', '../../evil/x'],
    ['https://h/a', '../../../evil/x'],
    ['https://h/a', './../../x'],
    ['https://h/a', './b/../../../x'],
    ['joe@h:a', '../../x:y'],
    ['/srv', '../../x'],
  ] as const) {
    assert.equal(relativeUrl(base, relative), undefined, `${base} ${relative}`)
  }
})

test('RIA stores of DataLad are known', () => {
  const id = '6d69ca68-7e85-11e6-904c-002590f97d84'
  for (const [url, repository] of [
    [`ria+https://h/store#${id}`, `https://h/store/6d6/${id.slice(3)}`],
    [`ria+ssh://joe@h:22/srv/store/#${id}@v1.2`, `ssh://joe@h:22/srv/store/6d6/${id.slice(3)}`],
    ['ria+file:///srv/store#~name', 'file:///srv/store/alias/name'],
    ['ria+https://h/store#~../../x', 'ria+https://h/store#~../../x'],
    ['ria+https://h/store#../..', 'ria+https://h/store#../..'],
    ['ria+ext::sh#abcdef', 'ria+ext::sh#abcdef'],
    ['https://h/x#y', 'https://h/x#y'],
  ] as const) {
    assert.equal(riaRepository(url), repository)
  }
})

test('the user and the repository are believed differently', () => {
  const origin = { path: 'd/sub', configured: undefined, url: '/srv/private', dataladUrl: undefined }
  const urls = (remotes: string[], own: string | undefined): string[] =>
    cloneCandidates({ remotes, folder: '/home/r' }, { ...origin, configured: own }).candidates.map(
      ({ from }) => from.url,
    )
  assert.deepEqual(urls(['https://h/super/.git'], undefined), [
    'https://h/super/.git/d/sub',
    'https://h/super/.git/d/sub/.git',
    'https://h/super/d/sub',
    'https://h/super/d/sub/.git',
  ])
  assert.equal(urls(['https://h/super'], '/srv/chosen')[0], pathToFileURL('/srv/chosen').href)
  assert.equal(urls(['/srv/super'], undefined)[0], 'file:///srv/private')
  assert.equal(urls([], undefined)[0], 'file:///srv/private')
  const { candidates } = cloneCandidates(
    { remotes: ['joe@intra:super'], folder: '/home/r' },
    { ...origin, url: 'ssh://other/x', configured: 'ssh://third/x' },
  )
  assert.deepEqual(
    candidates.map(({ host, named }) => `${host} ${String(named)}`),
    ['third true', 'other false', 'intra true', 'intra true'],
  )
})
