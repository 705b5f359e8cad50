import assert from 'node:assert/strict'
import { copyFile, mkdir, readdir, readFile, readlink, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { AnnexWorld } from '../support/annex.js'
import { annexWorld } from '../support/annex.js'
import { engineFor, readFrom } from '../support/engine.js'
import { toyWorld } from '../support/external/toy.js'
import { httpServer } from '../support/http.js'
import { startNginx } from '../support/nginx.js'
import { pseudoRandom } from '../support/peers.js'
import { startRsyncDaemon } from '../support/rsync-daemon.js'
import { S3_CREDENTIALS, startS3 } from '../support/s3-server.js'
import { mountSession, within } from '../support/session.js'
import { startSshd } from '../support/sshd.js'
import { startRcloneWebdav, WEBDAV_CREDENTIALS } from '../support/webdav-server.js'

const LIMIT = { timeout: 240_000 }
const SIZE = 3_000_000
/** A range of 1,000 bytes costs a piece, what a source likes to give in one read, and little more. */
const ABOUT_A_RANGE = 600 * 1024

/** A remote that is to be made and the file that is to be there alone. */
interface Row {
  readonly name: string
  readonly settings: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  /** A range costs about a range; not where an object has to come whole. */
  readonly ranges: boolean
}

/** `kind` x encryption x chunks. */
function rows(
  kind: string,
  settings: readonly string[],
  options: { whole?: boolean; env?: NodeJS.ProcessEnv } = {},
): Row[] {
  return ['none', 'shared'].flatMap((encryption) =>
    [undefined, '512KiB'].map((chunk) => ({
      name: `${kind}-${encryption}-${chunk === undefined ? 'whole' : 'chunks'}`,
      settings: [...settings, `encryption=${encryption}`, ...(chunk === undefined ? [] : [`chunk=${chunk}`])],
      ranges: options.whole !== true && !(encryption === 'shared' && chunk === undefined),
      ...(options.env === undefined ? {} : { env: options.env }),
    })),
  )
}

async function annex(world: AnnexWorld, row: Pick<Row, 'env'>, ...args: string[]): Promise<void> {
  const env = { PATH: process.env['PATH'], ...row.env }
  await world.run('a', 'git', ['annex', args[0] ?? '', '--quiet', ...args.slice(1)], { env })
}

/** Repository `a` with a file for each row, which is at the remote of that name alone. */
async function filled(world: AnnexWorld, rows: readonly Row[]): Promise<Map<string, Buffer>> {
  const files = new Map(rows.map(({ name }) => [name, pseudoRandom(SIZE, name)]))
  await world.addAnnexed('a', Object.fromEntries(files))
  for (const row of rows) {
    const settings = row.settings.map((setting) => setting.replace('NAME', row.name))
    await annex(world, row, 'initremote', row.name, ...settings)
    await annex(world, row, 'move', '--to', row.name, row.name)
  }
  // The user's word, which the tests' own git configuration has only for git-annex.
  await world.git('a', 'config', 'annex.security.allowed-ip-addresses', '127.0.0.0/8')
  return files
}

/** Every file's bytes are the source's, and a range of one costs about a range. */
async function reads(
  t: TestContext,
  world: AnnexWorld,
  rows: readonly Row[],
  files: ReadonlyMap<string, Buffer>,
): Promise<void> {
  const engine = await engineFor(t, join(world.folder, 'a'), { readahead: 128 * 1024 })
  const fetched = (): number => [...engine.fetched.values()].reduce((sum, bytes) => sum + bytes, 0)
  for (const { name, ranges } of rows) {
    const content = files.get(name) ?? Buffer.alloc(0)
    const before = fetched()
    const middle = await readFrom(engine, `/${name}`, 1_500_000, 1000)
    assert.ok(middle.equals(content.subarray(1_500_000, 1_501_000)), `${name}: a range`)
    const cost = fetched() - before
    if (ranges) assert.ok(cost <= ABOUT_A_RANGE, `${name}: a range of 1000 bytes cost ${cost}`)
    assert.ok((await readFrom(engine, `/${name}`, 0, SIZE)).equals(content), name)
  }
  await engine.volume.close()
  const open = (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''))
  const left = (await Promise.all(open)).filter((path) => path.startsWith(world.folder))
  assert.deepEqual(left, [], 'nothing is left open')
  assert.deepEqual(
    [...engine.fetched.keys()].map((source) => source.split(' ')[0]).sort(),
    rows.map(({ name }) => name).sort(),
  )
}

test('directory and rsync remotes: plain or encrypted, whole or in chunks', LIMIT, async (t) => {
  const world = await annexWorld(t)
  await world.repository('a')
  await mkdir(join(world.folder, 'stores'))
  const all = [
    ...rows('directory', ['type=directory', `directory=${world.folder}/stores/NAME`]),
    ...rows('rsync', ['type=rsync', `rsyncurl=${world.folder}/stores/NAME`]),
  ]
  for (const { name } of all) await mkdir(join(world.folder, 'stores', name))
  await reads(t, world, all, await filled(world, all))
})

test('S3 remotes: plain or encrypted, whole or in chunks', LIMIT, async (t) => {
  const server = await startS3(t)
  const world = await annexWorld(t)
  await world.repository('a')
  const env = { AWS_ACCESS_KEY_ID: S3_CREDENTIALS.user, AWS_SECRET_ACCESS_KEY: S3_CREDENTIALS.password }
  const place = ['type=S3', 'host=127.0.0.1', `port=${server.port}`, 'protocol=http', 'requeststyle=path']
  const all = rows('s3', [...place, 'bucket=bucket-NAME'], { env })
  await reads(t, world, all, await filled(world, all))
})

test('WebDAV remotes: plain or encrypted, whole or in chunks', LIMIT, async (t) => {
  const server = await startRcloneWebdav(t)
  const world = await annexWorld(t)
  await world.repository('a')
  const env = { WEBDAV_USERNAME: WEBDAV_CREDENTIALS.user, WEBDAV_PASSWORD: WEBDAV_CREDENTIALS.password }
  const all = rows('dav', ['type=webdav', `url=${server.url}/NAME`], { env })
  await reads(t, world, all, await filled(world, all))
})

test('external remotes: plain or encrypted, whole or in chunks', LIMIT, async (t) => {
  const { world } = await toyWorld(t, Buffer.from('x'))
  await world.repository('a')
  const settings = ['type=external', 'externaltype=toy', `directory=${world.folder}/toys/NAME`]
  const all = rows('toy', settings, { whole: true })
  for (const { name } of all) await mkdir(join(world.folder, 'toys', name), { recursive: true })
  await reads(t, world, all, await filled(world, all))
})

test('content that its only server has lost is an error at once, which says so', LIMIT, async (t) => {
  const world = await annexWorld(t)
  await world.repository('a')
  await world.addAnnexed('a', { gone: Buffer.alloc(700_000, 'x') })
  const server = await httpServer(t, (_, response) => response.writeHead(404).end())
  await world.annex('a', 'registerurl', await world.annex('a', 'lookupkey', 'gone'), `${server.url}/gone`)
  await world.annex('a', 'drop', '--quiet', '--force', 'gone')
  const engine = await engineFor(t, join(world.folder, 'a'), { allowAddresses: ['127.0.0.0/8'] })
  const reads = [0, 131_072, 262_144].map(async (start) =>
    assert.rejects(within(60_000, 'a read', readFrom(engine, '/gone', start, 1000)), {
      code: 'UNAVAILABLE',
      message: /answered 404|does not have it any more/,
    }),
  )
  await Promise.all(reads)
})

test('one repository with many kinds of remotes at once, through a mount', LIMIT, async (t) => {
  const [nginx, sshd, s3] = [await startNginx(t), await startSshd(t), await startS3(t)]
  const { world } = await toyWorld(t, Buffer.from('x'))
  await world.repository('a')
  for (const name of ['exported', 'rsynced', 'published', 'toyed']) await mkdir(join(world.folder, name))
  const s3env = { AWS_ACCESS_KEY_ID: S3_CREDENTIALS.user, AWS_SECRET_ACCESS_KEY: S3_CREDENTIALS.password }
  const s3place = ['type=S3', 'host=127.0.0.1', `port=${s3.port}`, 'protocol=http', 'requeststyle=path']
  const plain = 'encryption=none'
  const special: Row[] = [
    { name: 'published', settings: ['type=directory', `directory=${world.folder}/published`, plain], ranges: true },
    { name: 'rsynced', settings: ['type=rsync', `rsyncurl=${world.folder}/rsynced`, plain], ranges: false },
    {
      name: 'toyed',
      settings: ['type=external', 'externaltype=toy', `directory=${world.folder}/toyed`, plain],
      ranges: false,
    },
    { name: 'bucket', settings: [...s3place, 'bucket=many', plain, 'exporttree=yes'], env: s3env, ranges: true },
    {
      name: 'exported',
      settings: ['type=directory', `directory=${world.folder}/exported`, plain, 'exporttree=yes'],
      ranges: true,
    },
  ]
  const places = ['here', 'web', 'there-ssh', 'there-http', ...special.map(({ name }) => name)]
  const files = new Map(places.map((name) => [`in ${name}/f.bin`, pseudoRandom(SIZE, name)]))
  await world.addAnnexed('a', Object.fromEntries(files))
  // Exports first: they export what is here.
  for (const row of [...special].reverse()) {
    await annex(world, row, 'initremote', row.name, ...row.settings)
    if (row.settings.includes('exporttree=yes')) await annex(world, row, 'export', 'main', '--to', row.name)
    else await annex(world, row, 'move', '--to', row.name, `in ${row.name}`)
  }
  // git-annex keeps the only copies that it trusts; what lies in the exported trees is not trusted.
  for (const name of ['bucket', 'exported']) await world.annex('a', 'drop', '--quiet', '--force', `in ${name}`)
  // Another repository, behind ssh for the one file and behind a web server for the other.
  await world.git('.', 'clone', '--quiet', 'a', 'there')
  await world.annex('there', 'init', '--quiet', 'there')
  await world.git('a', 'remote', 'add', 'there', join(world.folder, 'there'))
  for (const name of ['there-ssh', 'there-http'])
    await world.annex('a', 'move', '--quiet', '--to', 'there', `in ${name}`)
  await world.git(
    'a',
    'remote',
    'set-url',
    'there',
    `ssh://${sshd.user}@${sshd.host}:${sshd.port}${world.folder}/there`,
  )
  await world.git('a', 'remote', 'add', 'mirror', `${nginx.url}/there/.git`)
  const uuid = await world.git('there', 'config', 'annex.uuid')
  await world.git('a', 'config', 'remote.mirror.annex-uuid', uuid)
  await world.run('.', 'cp', ['-a', 'there', join(nginx.root, 'there')])
  // The web: a URL recorded for the key.
  await mkdir(join(nginx.root, 'files'))
  await copyFile(join(world.folder, 'a/in web/f.bin'), join(nginx.root, 'files/f.bin'))
  await world.annex('a', 'registerurl', await world.annex('a', 'lookupkey', 'in web/f.bin'), `${nginx.url}/files/f.bin`)
  await world.annex('a', 'drop', '--quiet', '--force', 'in web')
  // What was published is read through its rsync daemon and a web server as well, since the directory goes away.
  await world.annex(
    'a',
    'initremote',
    '--quiet',
    'also',
    '--sameas=published',
    'type=httpalso',
    `url=${nginx.url}/published`,
  )
  await world.run('.', 'cp', ['-a', 'published', join(nginx.root, 'published')])
  await rm(join(world.folder, 'published'), { recursive: true })
  const daemon = await startRsyncDaemon(t, join(world.folder, 'rsynced'))
  await world.git('a', 'config', 'remote.rsynced.annex-rsyncurl', daemon)
  await world.git('a', 'config', 'annex.security.allowed-ip-addresses', '127.0.0.0/8')

  const env = { GIT_SSH_COMMAND: sshd.command, PATH: process.env['PATH'] ?? '' }
  const mount = await mountSession(t, [join(world.folder, 'a')], { env })
  for (const [path, content] of files) {
    const got = await within(60_000, path, readFile(join(mount.path, path)))
    assert.ok(got.equals(content), `${path}: wrong bytes`)
  }
  assert.equal(await mount.stop(), 0, mount.log())
})
