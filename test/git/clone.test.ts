import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { rename } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { test } from 'node:test'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { cloneForMount } from '../../lib/git/clone.js'
import { isCloneUrl, parseCloneUrl } from '../../lib/git/clone-url.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog, textLog } from '../../lib/log/log.js'
import { annexWorld } from '../support/annex.js'

const { signal } = new AbortController()

test('a clone has all branches, follows its origin, and serves on when that is gone', async (t) => {
  const world = await annexWorld(t)
  const origin = await world.repository('origin')
  await world.addAnnexed('origin', { 'f.txt': 'content' })
  await world.git('origin', 'branch', 'other')
  const url = pathToFileURL(origin).href
  const cache = join(world.folder, 'cache')
  const folder = await cloneForMount(url, cache, silentLog, signal)
  const git = await GitRepository.open(folder, silentLog)
  t.after(() => git.close())
  assert.ok(git.bare)
  const tip = async (): Promise<string | undefined> => (await git.objects.info('main'))?.sha
  assert.equal(await tip(), await world.git('origin', 'rev-parse', 'main'))
  assert.ok(await git.objects.info('other'))
  const annex = await AnnexRepository.open(git, silentLog)
  const remote = (await annex.remotes()).find(({ name }) => name === 'origin')
  assert.equal(remote?.uuid, await world.git('origin', 'config', 'annex.uuid'))
  await world.addAnnexed('origin', { 'g.txt': 'more' })
  await world.git('origin', 'branch', '-D', 'other')
  assert.equal(await cloneForMount(url, cache, silentLog, signal), folder)
  assert.equal(await tip(), await world.git('origin', 'rev-parse', 'main'))
  assert.equal(await git.objects.info('other'), undefined)
  await rename(origin, `${origin}-gone`)
  const lines: string[] = []
  const log = textLog('warn', (line) => lines.push(line))
  assert.equal(await cloneForMount(url, cache, log, signal), folder)
  assert.match(lines.join(''), /cannot be brought up to date/)
  assert.deepEqual(readdirSync(join(cache, 'clones')), [folder.slice(-64)])
})

test('two who clone the same at once get the same clone', async (t) => {
  const world = await annexWorld(t)
  const origin = await world.repository('origin')
  await world.addAnnexed('origin', { 'f.txt': 'content' })
  const cache = join(world.folder, 'cache')
  const url = pathToFileURL(origin).href
  const folders = await Promise.all(Array.from({ length: 4 }, () => cloneForMount(url, cache, silentLog, signal)))
  assert.equal(new Set(folders).size, 1)
  assert.equal(readdirSync(join(cache, 'clones')).length, 1)
})

test('a clone that fails or is given up leaves nothing', async (t) => {
  const world = await annexWorld(t)
  const cache = join(world.folder, 'cache')
  await assert.rejects(cloneForMount('file:///no/such/repository', cache, silentLog, signal), (error) =>
    isAnnexfsError(error, 'NOT_FOUND'),
  )
  const stop = new AbortController()
  stop.abort()
  await assert.rejects(cloneForMount('file:///no/such', cache, silentLog, stop.signal), (error) =>
    isAnnexfsError(error, 'ABORTED'),
  )
  assert.deepEqual(readdirSync(join(cache, 'clones')), [])
})

test('goal 38: URLs that would be options or programs are refused', () => {
  for (const url of [
    '',
    '-oProxyCommand=x',
    '--upload-pack=x',
    'ext::sh -c x',
    'ext://x',
    'ssh://-oProxyCommand=x/y',
    'ssh://%2doProxyCommand=x/y',
    'ssh://-ox@host/y',
    'host:-x',
    '-x:y',
    'a\nb:c',
    'ftp://h/x',
    './folder:x',
    'http://[',
    'fd::17',
    'transport::http://x',
    'ssh://u:password@h/x',
  ]) {
    assert.throws(
      () => parseCloneUrl(url),
      (error) => isAnnexfsError(error, 'INVALID'),
      url,
    )
  }
  for (const url of ['http://h/r', 'https://h/r.git', 'ssh://u@h:22/~/r', 'git://h/r', 'file:///r', 'u@h:r', 'h:/r']) {
    assert.equal(parseCloneUrl(url).url.replace(/\/$/, ''), url)
    assert.ok(isCloneUrl(url))
  }
  for (const folder of ['/a/b', './a', 'a', '../a:b', 'a/b:c']) assert.ok(!isCloneUrl(folder), folder)
})

test('goal 43: a password in a URL goes to its server alone: not to logs, command lines, or the clone', async (t) => {
  const world = await annexWorld(t)
  const cache = join(world.folder, 'cache')
  const seen: string[] = []
  const commands = new Set<string>()
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization ?? 'none')
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        commands.add(readFileSync(`/proc/${pid}/cmdline`, 'latin1'))
      } catch {
        // It ended while we looked.
      }
    }
    response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const lines: string[] = []
  const log = textLog('debug', (line) => lines.push(line))
  const url = `http://joe:canary%2dsecret@127.0.0.1:${port}/r`
  const failure = await cloneForMount(url, cache, log, signal).catch((error: unknown) => error)
  assert.ok(isAnnexfsError(failure, 'NOT_FOUND'))
  assert.equal(seen[0], `Basic ${Buffer.from('joe:canary-secret').toString('base64')}`)
  for (const text of [failure.message, ...lines, ...commands]) {
    assert.ok(!/canary(-|%2d)secret|am9lOmNh/.test(text), text)
  }
})
