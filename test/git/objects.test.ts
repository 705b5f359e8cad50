import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { runGpg } from '../../lib/cipher/gpg.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { gitEnvironment } from '../../lib/git/process.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'

async function opened(t: TestContext): Promise<{ world: AnnexWorld; git: GitRepository }> {
  const world = await annexWorld(t)
  await world.repository('r', { plain: true })
  const git = await GitRepository.open(join(world.folder, 'r'), silentLog)
  t.after(() => git.close())
  return { world, git }
}

async function blob(world: AnnexWorld, content: string | Buffer): Promise<string> {
  return (await world.run('r', 'git', ['hash-object', '-w', '--stdin'], { input: content })).toString().trim()
}

/** The git processes that this process has started and that are still running. */
function children(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        return fields[1] === String(process.pid) && fields[0] !== 'Z' && stat.includes('(git)')
      } catch {
        // It ended while we looked.
        return false
      }
    })
}

test('objects of all sizes are read, in order, with what is missing between them', async (t) => {
  const { world, git } = await opened(t)
  const contents = [
    '',
    'a',
    'with\nnewlines\n',
    'x'.repeat(65536),
    'y'.repeat(1_000_000),
    `${'0'.repeat(40)} missing\n`,
  ]
  const shas: string[] = []
  for (const content of contents) shas.push(await blob(world, content))
  const absent = 'f'.repeat(40)
  const answers = await Promise.all(
    [...shas, absent, ...shas].map((sha) =>
      git.objects.read(sha, 10_000_000).then((object) => object?.bytes.toString()),
    ),
  )
  assert.deepEqual(answers, [...contents, undefined, ...contents])
  const infos = await git.objects.infos([absent, ...shas])
  assert.deepEqual(
    infos.map((info) => info?.size),
    [undefined, ...contents.map((content) => content.length)],
  )
  const known = infos.filter((info) => info !== undefined)
  const all = await git.objects.readAll(known)
  assert.deepEqual(
    all.map((object) => object?.bytes.toString()),
    contents,
  )
})

test('an object longer than allowed is refused before it is read', async (t) => {
  const { world, git } = await opened(t)
  const sha = await blob(world, 'x'.repeat(1000))
  await assert.rejects(git.objects.read(sha, 999), (error) => isAnnexfsError(error, 'INVALID'))
  assert.equal((await git.objects.read(sha, 1000))?.size, 1000)
})

test('what cannot be a rev never reaches git', async (t) => {
  const { git } = await opened(t)
  for (const rev of ['', 'HEAD\ncontents HEAD', 'a\0b', 'x'.repeat(10_000)]) {
    await assert.rejects(git.objects.info(rev), (error) => isAnnexfsError(error, 'INVALID'))
  }
  assert.equal(await git.objects.info('no such ref'), undefined)
  assert.equal(await git.objects.info('HEAD'), undefined, 'an unborn branch')
})

test('a process that is killed is started again and nobody notices', async (t) => {
  const { world, git } = await opened(t)
  const sha = await blob(world, 'content')
  for (let round = 0; round < 4; round++) {
    assert.equal((await git.objects.read(sha, 100))?.bytes.toString(), 'content')
    const reads = Array.from({ length: 2000 }, () => git.objects.read(sha, 100))
    const [pid] = children()
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGKILL')
    for (const object of await Promise.all(reads)) assert.equal(object?.bytes.toString(), 'content')
  }
})

test('a corrupt object fails alone', async (t) => {
  const { world, git } = await opened(t)
  const good = await blob(world, 'good')
  const bad = await blob(world, 'bad bad bad bad bad bad bad')
  const file = join(world.folder, 'r/.git/objects', bad.slice(0, 2), bad.slice(2))
  await chmod(file, 0o644)
  const bytes = readFileSync(file)
  bytes.fill(0x55, bytes.length - 12)
  await writeFile(file, bytes)
  const results = await Promise.allSettled([good, bad, good, bad, good].map((sha) => git.objects.read(sha, 100)))
  assert.deepEqual(
    results.map((result) => (result.status === 'fulfilled' && result.value?.bytes.toString()) || 'failed'),
    ['good', 'failed', 'good', 'failed', 'good'],
  )
  const infos = [good, bad, good].map((sha) => ({ sha, type: 'blob', size: 4 }))
  const objects = await git.objects.readAll(infos)
  assert.deepEqual(
    objects.map((object) => object?.bytes.toString()),
    ['good', undefined, 'good'],
  )
})

test('a large blob is streamed, and its process ends with its reader', async (t) => {
  const { world, git } = await opened(t)
  const content = Buffer.alloc(20_000_000, 'stream me ')
  const sha = await blob(world, content)
  const { signal } = new AbortController()
  let length = 0
  for await (const chunk of git.objects.stream(sha, signal)) length += chunk.length
  assert.equal(length, content.length)
  for await (const chunk of git.objects.stream(sha, signal)) {
    assert.ok(chunk.length > 0)
    break
  }
  const stop = new AbortController()
  await assert.rejects(
    async () => {
      for await (const chunk of git.objects.stream(sha, stop.signal)) {
        assert.ok(chunk.length > 0)
        stop.abort()
      }
    },
    (error) => isAnnexfsError(error, 'ABORTED'),
  )
  await assert.rejects(
    async () => {
      for await (const chunk of git.objects.stream('a'.repeat(40), signal))
        assert.fail(`${chunk.length} bytes of nothing`)
    },
    (error) => isAnnexfsError(error, 'SYSTEM'),
  )
  await assert.rejects(git.objects.stream('--help', signal).next(), (error) => isAnnexfsError(error, 'INVALID'))
  await git.close()
  for (let wait = 0; wait < 3_000 && children().length > 0; wait++)
    await new Promise((resolve) => setTimeout(resolve, 20))
  assert.deepEqual(children(), [])
})

test('after close everything fails with ABORTED', async (t) => {
  const { world, git } = await opened(t)
  const sha = await blob(world, 'x')
  const pending = git.objects.read(sha, 10).catch((error: unknown) => error)
  await git.close()
  assert.ok(isAnnexfsError(await pending, 'ABORTED'))
  await assert.rejects(git.objects.info(sha), (error) => isAnnexfsError(error, 'ABORTED'))
})

test('repositories in all their shapes are opened; what is none is refused', async (t) => {
  const { world } = await opened(t)
  const open = async (path: string): Promise<GitRepository> => {
    const git = await GitRepository.open(join(world.folder, path), silentLog)
    t.after(() => git.close())
    return git
  }
  const inside = join(world.folder, 'r/.git')
  const plain = await open('r')
  assert.deepEqual([plain.gitDir, plain.commonDir, plain.bare], [inside, inside, false])
  assert.equal(plain.workTree, join(world.folder, 'r'))
  const direct = await open('r/.git')
  assert.deepEqual([direct.gitDir, direct.workTree, direct.bare], [inside, undefined, false])
  await world.repository('bare', { plain: true, bare: true })
  assert.equal((await open('bare')).bare, true)
  await world.git('r', 'commit', '--quiet', '--allow-empty', '-m', 'x')
  await world.git('r', 'worktree', 'add', '--quiet', '../wt')
  const linked = await open('wt')
  assert.deepEqual([linked.gitDir, linked.commonDir], [join(inside, 'worktrees/wt'), inside])
  await world.run('.', 'ln', ['-s', 'r', 'link'])
  assert.equal((await open('link')).workTree, join(world.folder, 'r'))
  await mkdir(join(world.folder, 'none/.git'), { recursive: true })
  await mkdir(join(world.folder, 'file'))
  await writeFile(join(world.folder, 'file/.git'), 'gitdir: /dev/zero\n')
  await mkdir(join(world.folder, 'r/sub'))
  for (const path of ['none', 'file', 'absent', 'r/sub', 'gitconfig']) {
    await assert.rejects(open(path), (error) => isAnnexfsError(error, 'INVALID'), path)
  }
})

test('a repository of somebody else is read, and no program that it names is run', async (t) => {
  const { world } = await opened(t)
  const canary = join(world.folder, 'canary')
  const script = join(world.folder, 'script')
  await writeFile(script, `#!/bin/sh\necho ran >> ${canary}\nexit 1\n`)
  await chmod(script, 0o755)
  await world.git('r', 'commit', '--quiet', '--allow-empty', '-m', 'x')
  for (const name of [
    'core.fsmonitor',
    'core.sshCommand',
    'core.pager',
    'core.askPass',
    'uploadpack.packObjectsHook',
  ]) {
    await world.git('r', 'config', name, script)
  }
  await world.git('r', 'config', 'alias.cat-file', `!${script}`)
  await world.git('r', 'config', 'remote.origin.url', `ext::${script}`)
  await world.git('r', 'config', 'remote.origin.promisor', 'true')
  if (process.getuid?.() === 0) execFileSync('chown', ['-R', '12345', join(world.folder, 'r')])
  const git = await GitRepository.open(join(world.folder, 'r'), silentLog)
  t.after(() => git.close())
  assert.equal((await git.objects.info('HEAD'))?.type, 'commit')
  assert.equal(await git.objects.info('a'.repeat(40)), undefined)
  assert.ok(!readdirSync(world.folder).includes('canary'))
})

test('a partial clone is read without fetching; what it lacks is missing', async (t) => {
  const { world } = await opened(t)
  await world.write('r', 'a', 'content')
  await world.git('r', 'add', 'a')
  await world.git('r', 'commit', '--quiet', '-m', 'x')
  await world.git('r', 'config', 'uploadpack.allowFilter', 'true')
  await world.git('.', 'clone', '--quiet', '--bare', '--filter=blob:none', `file://${world.folder}/r`, 'partial')
  const git = await GitRepository.open(join(world.folder, 'partial'), silentLog)
  t.after(() => git.close())
  const sha = await world.git('r', 'rev-parse', 'main:a')
  const [present, absent, again] = await git.objects.infos(['main^{tree}', sha, 'main^{tree}'])
  assert.deepEqual([present?.type, absent, again?.type], ['tree', undefined, 'tree'])
  assert.equal(await git.objects.read(sha, 100), undefined)
  assert.match(await world.git('partial', 'count-objects', '-v'), /^count: 0$/m)
})

test("git and gpg are not given the user's credentials of remotes; git-annex is", { timeout: 180_000 }, async (t) => {
  const names = ['AWS_SECRET_ACCESS_KEY', 'WEBDAV_PASSWORD', 'ANNEXFS_AUTH', 'RSYNC_PASSWORD']
  const before = names.map((name) => [name, process.env[name]] as const)
  t.after(() => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  })
  for (const name of names) process.env[name] = 'canary'
  const { world, git } = await opened(t)
  await git.objects.read(await blob(world, 'x'), 100)
  const [reader] = children()
  assert.ok(reader !== undefined)
  const given = readFileSync(`/proc/${reader}/environ`, 'utf8')
  assert.ok(given.includes('GIT_DIR='))
  assert.ok(!given.includes('canary'))
  const gpg = join(world.folder, 'gpg')
  await writeFile(gpg, `#!/bin/sh\nenv >${gpg}.env\ncat\n`)
  await chmod(gpg, 0o700)
  const ended = runGpg({
    program: gpg,
    args: [],
    input: (async function* () {})(),
    output: async () => undefined,
    signal: AbortSignal.timeout(60_000),
  })
  await assert.rejects(ended, (error) => isAnnexfsError(error))
  const told = readFileSync(`${gpg}.env`, 'utf8')
  assert.ok(told.includes('PATH='))
  assert.ok(!told.includes('canary'))
  assert.equal(gitEnvironment({ secrets: true })['AWS_SECRET_ACCESS_KEY'], 'canary')
})
