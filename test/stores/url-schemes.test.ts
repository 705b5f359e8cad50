import assert from 'node:assert/strict'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { parseKey, type Key } from '../../lib/annex/key.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { privateRoom, Scratch } from '../../lib/cache/scratch.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { sourcesForKey, type KeySources } from '../../lib/sources/annex.js'
import { Stores } from '../../lib/stores/stores.js'
import { readAll, spaceOf } from '../sources/contract.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { startNginx } from '../support/nginx.js'
import { S3_CREDENTIALS, startS3 } from '../support/s3-server.js'
import { temporaryFolder } from '../support/temp.js'
import { startRcloneWebdav, WEBDAV_CREDENTIALS } from '../support/webdav-server.js'

const CONTENT = Buffer.alloc(100_000, 'content')
const CREDENTIALS = {
  AWS_ACCESS_KEY_ID: S3_CREDENTIALS.user,
  AWS_SECRET_ACCESS_KEY: S3_CREDENTIALS.password,
  WEBDAV_USERNAME: WEBDAV_CREDENTIALS.user,
  WEBDAV_PASSWORD: WEBDAV_CREDENTIALS.password,
}

/** `here` with `f`, whose content is at remotes of many kinds that are reached by http. */
async function published(t: TestContext): Promise<{ world: AnnexWorld; key: Key }> {
  const world = await annexWorld(t)
  const [nginx, s3, webdav] = await Promise.all([
    startNginx(t, { root: world.folder }),
    startS3(t),
    startRcloneWebdav(t),
  ])
  s3.rules.anonymous = true
  const annex = (repository: string, ...args: string[]): Promise<Buffer> =>
    world.run(repository, 'git', ['annex', args[0] ?? '', '--quiet', ...args.slice(1)], { env: CREDENTIALS })
  await world.repository('origin')
  await world.addAnnexed('origin', { f: CONTENT })
  await mkdir(join(world.folder, 'd'))
  const bucket = ['type=S3', 'host=127.0.0.1', `port=${s3.port}`, 'protocol=http', 'requeststyle=path']
  const made: Readonly<Record<string, readonly string[]>> = {
    d: ['type=directory', `directory=${join(world.folder, 'd')}`],
    signed: [...bucket, 'bucket=signed'],
    public: [...bucket, 'bucket=public', 'public=yes', `publicurl=${s3.url}/public`],
    dav: ['type=webdav', `url=${webdav.url}`],
  }
  for (const [name, settings] of Object.entries(made)) {
    await annex('origin', 'initremote', name, ...settings, 'encryption=none')
    await annex('origin', 'copy', '--to', name)
  }
  await annex('origin', 'initremote', '--sameas=d', 'also', 'type=httpalso', `url=${nginx.url}/d`)
  await world.git('.', 'clone', '--quiet', 'origin', 'here')
  await annex('here', 'init', 'here')
  for (const name of ['signed', 'public', 'dav', 'also']) await annex('here', 'enableremote', name)
  const credentials = await world.git('here', 'config', 'remote.public.annex-uuid')
  await rm(join(world.folder, 'here/.git/annex/creds', credentials))
  await world.git('here', 'remote', 'set-url', 'origin', `${nginx.url}/origin/.git`)
  const key = parseKey(await world.annex('here', 'lookupkey', 'f'))
  assert.ok(key)
  return { world, key }
}

async function find(t: TestContext, world: AnnexWorld, key: Key): Promise<KeySources> {
  const git = await GitRepository.open(join(world.folder, 'here'), silentLog)
  const annex = await AnnexRepository.open(git, silentLog)
  const cacheFolder = await temporaryFolder(t)
  const scratch = new Scratch(cacheFolder, privateRoom(64 * 1024 * 1024), silentLog)
  const options = { allowAddresses: ['127.0.0.1'], cacheFolder, scratch, log: silentLog, forbid: () => false }
  const stores = new Stores(annex, options)
  t.after(async () => {
    await stores.close()
    await scratch.close()
    await annex.close()
    await git.close()
  })
  return sourcesForKey({ annex, key, stores, log: silentLog })
}

/** Whether `remote` may be read from; when not, the configuration is what is said to forbid it. */
async function isRead(found: KeySources, remote: string): Promise<boolean> {
  const source = found.sources.find(({ name }) => name.startsWith(`${remote} (`))
  assert.ok(source, remote)
  try {
    const holding = await source.find(spaceOf(CONTENT.length), AbortSignal.timeout(60_000))
    assert.ok(holding, remote)
    return (await readAll(holding, { start: 0, end: CONTENT.length })).equals(CONTENT)
  } catch (error) {
    assert.ok(isAnnexfsError(error, 'FORBIDDEN'), `${remote}: ${String(error)}`)
    assert.match(error.message, /annex\.security\.allowed-url-schemes .*does not allow .*http:\/\/127/, remote)
    return false
  }
}

async function isGot(world: AnnexWorld, remote: string): Promise<boolean> {
  const get = ['annex', 'get', '--quiet', '--from', remote, 'f']
  await world.run('here', 'git', get, { accept: [1] })
  const found = await world.git('here', 'annex', 'find', '--in=here', 'f')
  if (found !== '') await world.annex('here', 'drop', '--quiet', '--force', 'f')
  return found !== ''
}

test('annex.security.allowed-url-schemes counts for the remotes that it counts for with git-annex', async (t) => {
  const { world, key } = await published(t)
  for (const [schemes, expected] of [
    ['http', ['also', 'origin', 'public', 'signed', 'dav']],
    ['https', ['signed', 'dav']],
  ] as const) {
    await world.git('here', 'config', 'annex.security.allowed-url-schemes', schemes)
    const found = await find(t, world, key)
    for (const remote of ['also', 'origin', 'public', 'signed', 'dav']) {
      const allowed = (expected as readonly string[]).includes(remote)
      assert.equal(await isRead(found, remote), allowed, `${remote}, ${schemes}`)
      assert.equal(await isGot(world, remote), allowed, `git-annex: ${remote}, ${schemes}`)
    }
  }
})

test('annex.security.allowed-url-schemes counts for URLs of torrents', async (t) => {
  const world = await annexWorld(t)
  await world.repository('here')
  await world.addAnnexed('here', { f: CONTENT })
  const key = parseKey(await world.annex('here', 'lookupkey', 'f'))
  assert.ok(key)
  const magnet = 'magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567'
  for (const url of ['http://127.0.0.1:9/x.torrent', 'https://127.0.0.1:9/x.torrent']) {
    await world.annex('here', 'registerurl', key.raw, url)
  }
  await world.annex('here', 'registerurl', key.raw, magnet)
  await world.git('here', 'config', 'annex.security.allowed-url-schemes', 'https')
  const { torrents, unsupported } = await find(t, world, key)
  assert.deepEqual(torrents.map(({ url }) => url).toSorted(), ['https://127.0.0.1:9/x.torrent', magnet])
  assert.deepEqual(
    unsupported.map(({ source, reason }) => [source, /allowed-url-schemes/.test(reason)]),
    [['torrent (http://127.0.0.1:9/x.torrent)', true]],
  )
})
