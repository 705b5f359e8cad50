import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { annexWorld } from '../support/annex.js'
import { startNginx } from '../support/nginx.js'
import { makeSample, PIECE, REACH_NGINX, type Sample } from '../support/sample.js'
import { runProgram } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'
import { serveSession, type ServeSession } from './serve-session.js'

const LIMIT = { timeout: 180_000 }
/** Names that clients must take from a listing and give back. */
const ODD = ['odd/a b#c%20&d+e;f.txt', 'odd/ünï \'quoted\' "x" (1) [2] ~ é.bin', 'odd/日本語/\u{1F600}.dat']

async function served(t: TestContext): Promise<{ sample: Sample; session: ServeSession }> {
  const sample = await makeSample(t, { empty: 0, one: 1, 'piece+1': PIECE + 1, odd: 3 * PIECE + 12_345 })
  const { world, files } = sample
  for (const path of ODD) {
    await world.write('a', path, `content of ${path}\n`)
    ;(files as Map<string, Buffer>).set(path, Buffer.from(`content of ${path}\n`))
  }
  await world.git('a', '-c', 'annex.largefiles=nothing', 'add', 'odd')
  await world.git('a', 'commit', '--quiet', '-m', 'odd names')
  return { sample, session: await serveSession(t, [sample.repository], { args: REACH_NGINX }) }
}

async function sameFiles(folder: string, files: ReadonlyMap<string, Buffer>): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const found = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  assert.deepEqual(found.map((path) => path.slice(folder.length + 1)).toSorted(), [...files.keys()].toSorted())
  for (const [path, content] of files) assert.ok((await readFile(join(folder, path))).equals(content), path)
}

test('rclone copies everything by its http and its webdav backend', LIMIT, async (t) => {
  const { sample, session } = await served(t)
  for (const [backend, option] of [
    [':http:', '--http-url'],
    [':webdav:', '--webdav-url'],
  ] as const) {
    const folder = await temporaryFolder(t)
    const config = ['--config', '/dev/null', option, session.url, '--retries', '1']
    const copied = await runProgram('rclone', ['copy', backend, folder, ...config], { timeout: 120_000 })
    assert.equal(copied.code, 0, copied.stderr)
    await sameFiles(folder, sample.files)
    const checked = await runProgram('rclone', ['check', '--download', '--one-way', folder, backend, ...config])
    assert.equal(checked.code, 0, checked.stderr)
  }
  assert.equal(await session.stop(), 0)
})

test('curl fetches files, parts of them, and goes on where it was', LIMIT, async (t) => {
  const { sample, session } = await served(t)
  const curl = async (...args: string[]): Promise<Buffer> => {
    const { code, stdout, stderr } = await runProgram('curl', ['-sSf', '--globoff', '--max-time', '30', ...args])
    assert.equal(code, 0, stderr)
    return stdout
  }
  for (const [path, content] of sample.files) {
    const url = `${session.url}${path.split('/').map(encodeURIComponent).join('/')}`
    assert.ok((await curl(url)).equals(content), path)
  }
  const content = sample.files.get('web/odd') ?? Buffer.alloc(0)
  assert.ok((await curl('-r', '100000-200000', `${session.url}web/odd`)).equals(content.subarray(100_000, 200_001)))
  assert.ok((await curl('-r', '-777', `${session.url}web/odd`)).equals(content.subarray(-777)))
  const partial = join(await temporaryFolder(t), 'partial')
  await writeFile(partial, content.subarray(0, 54_321))
  await curl('-C', '-', '-o', partial, `${session.url}web/odd`)
  assert.ok((await readFile(partial)).equals(content))
  const parts = (await curl('-r', '0-9,100000-100009,-10', `${session.url}web/odd`)).toString('latin1')
  for (const [start, end] of [
    [0, 10],
    [100_000, 100_010],
    [content.length - 10, content.length],
  ] as const) {
    assert.ok(parts.includes(`\r\n\r\n${content.toString('latin1', start, end)}\r\n`))
  }
})

test('cadaver lists folders and gets files', LIMIT, async (t) => {
  const { sample, session } = await served(t)
  const folder = await temporaryFolder(t)
  const script = join(folder, 'script')
  await writeFile(script, 'ls\ncd web\nls\nget odd got\ncd ../odd\nls\nput script\nquit\n')
  const shell = `cd "$1" && HOME="$1" cadaver "$2" < script`
  const { stdout } = await runProgram('sh', ['-c', shell, 'sh', folder, session.url], { timeout: 120_000 })
  const text = stdout.toString()
  assert.match(text, /Coll: +clone\b.*Coll: +local\b.*Coll: +web\b.*README +19 /s)
  assert.match(text, /odd +405561 /)
  assert.match(text, /Uploading .* failed/s)
  const content = sample.files.get('web/odd') ?? Buffer.alloc(0)
  assert.equal(content.length, 405_561)
  assert.ok((await readFile(join(folder, 'got'))).equals(content))
})

test('davfs2 mounts it, read-only', { ...LIMIT, skip: process.getuid?.() !== 0 }, async (t) => {
  const { sample, session } = await served(t)
  // Hooks run in the order in which they were made, and nothing may be removed under a mount.
  const folder = await mkdtemp(join(tmpdir(), 'annexfs-test-'))
  const mountpoint = join(folder, 'mount')
  t.after(async () => {
    await runProgram('umount', [mountpoint])
    const cache = `/var/cache/davfs2/127.0.0.1+${mountpoint.slice(1).replaceAll('/', '-')}+root`
    await rm(cache, { recursive: true, force: true })
    await rm(folder, { recursive: true, force: true })
  })
  await mkdir(mountpoint)
  await writeFile(join(folder, 'conf'), 'ask_auth 0\nuse_locks 0\n')
  const mounted = await runProgram('mount.davfs', ['-o', `ro,conf=${join(folder, 'conf')}`, session.url, mountpoint])
  assert.equal(mounted.code, 0, mounted.stderr)
  // Its listings fail on new kernels, whatever it mounts; what is asked for by name it has.
  const script = 'import sys,os; sys.stdout.buffer.write(open(sys.argv[1],"rb").read())'
  for (const path of ['README', 'web/odd', 'local/piece+1', 'shelf/empty', ODD[0] ?? '']) {
    const read = await runProgram('python3', ['-c', script, join(mountpoint, path)], { timeout: 120_000 })
    assert.equal(read.code, 0, read.stderr)
    assert.ok(read.stdout.equals(sample.files.get(path) ?? Buffer.alloc(0)), path)
  }
})

test('ffprobe and ffmpeg read a film from the web, fetching a part of it', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const nginx = await startNginx(t)
  const film = join(nginx.root, 'film.mp4')
  const noise = 'nullsrc=s=1280x720:d=4:r=25,noise=alls=100:allf=t'
  const made = await runProgram('ffmpeg', [
    ...'-loglevel error -f lavfi -i'.split(' '),
    noise,
    ...'-f lavfi -i sine=duration=4 -c:v mpeg4 -b:v 60M -y'.split(' '),
    film,
  ])
  assert.equal(made.code, 0, made.stderr)
  // Three times as long: what is read ahead, and what is in the buffers of sockets, does not grow with the film.
  const looped = await runProgram('ffmpeg', [
    ...'-loglevel error -stream_loop 2 -i'.split(' '),
    film,
    ...'-c copy -y'.split(' '),
    `${film}.long.mp4`,
  ])
  assert.equal(looped.code, 0, looped.stderr)
  await rename(`${film}.long.mp4`, film)
  const { size: length } = await stat(film)
  assert.ok(length > 60_000_000, `${length}`)
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--file=film.mp4', `${nginx.url}/film.mp4`)
  await world.git('a', 'commit', '--quiet', '-m', 'film')
  await world.annex('a', 'drop', '--quiet', '--force', 'film.mp4')
  const before = (await nginx.log()).length
  const session = await serveSession(t, [repository], { args: REACH_NGINX })
  const probed = await runProgram('ffprobe', [
    ...'-v error -show_entries format=duration,size:stream=codec_name -of csv=p=0'.split(' '),
    `${session.url}film.mp4`,
  ])
  assert.equal(probed.code, 0, probed.stderr)
  assert.match(probed.stdout.toString(), /^mpeg4\naac\n12\.\d+,\d+\n$/)
  const fetched = (await nginx.log()).slice(before).reduce((sum, { bytes }) => sum + bytes, 0)
  assert.ok(fetched < length / 2, `ffprobe fetched ${fetched} of ${length} bytes`)
  const frame = [
    '-loglevel',
    'error',
    '-ss',
    '2',
    '-i',
    `${session.url}film.mp4`,
    '-frames:v',
    '1',
    '-f',
    'framemd5',
    '-',
  ]
  const [far, near] = [frame, frame.with(5, film)].map((args) => runProgram('ffmpeg', args))
  assert.equal((await far)?.code, 0, (await far)?.stderr)
  assert.equal((await far)?.stdout.toString(), (await near)?.stdout.toString())
  const playlist = await runProgram('curl', ['-sSf', `${session.url}?m3u`])
  assert.equal(playlist.stdout.toString(), `#EXTM3U\n#EXTINF:-1,film.mp4\n${session.url}film.mp4\n`)
})
