import assert from 'node:assert/strict'
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { annexWorld } from '../support/annex.js'
import { startNginx, type Nginx } from '../support/nginx.js'
import { pseudoRandom } from '../support/peers.js'
import { PIECE, REACH_NGINX } from '../support/sample.js'
import { mountSession, runProgram, within, type MountSession } from '../support/session.js'

const LIMIT = { timeout: 180_000 }
const MIB = 1024 * 1024

interface Served {
  readonly nginx: Nginx
  readonly repository: string
  mount(options?: readonly string[]): Promise<MountSession>
  /** Bytes that were fetched so far. */
  fetched(): Promise<number>
}

/** A repository whose files only a web server has. */
async function served(t: TestContext, make: (root: string) => Promise<readonly string[]>): Promise<Served> {
  const world = await annexWorld(t)
  const nginx = await startNginx(t)
  const repository = await world.repository('a')
  const names = await make(nginx.root)
  const input = names.map((name) => `${nginx.url}/${name} ${name}\n`).join('')
  await world.run('a', 'git', ['annex', 'addurl', '--quiet', '--fast', '--batch', '--with-files'], { input })
  await world.git('a', 'commit', '--quiet', '-m', 'urls')
  return {
    nginx,
    repository,
    mount: (options = []) => mountSession(t, [repository], { options: [...REACH_NGINX, ...options] }),
    fetched: async () => (await nginx.log()).reduce((total, one) => total + (one.method === 'GET' ? one.bytes : 0), 0),
  }
}

/** A film of 20 s at about 8 Mbit/s, with its index at the end and at the start, and as Matroska. */
async function makeFilms(root: string): Promise<readonly string[]> {
  const ffmpeg = async (...args: string[]): Promise<void> => {
    const { code, stderr } = await runProgram('ffmpeg', ['-v', 'error', '-nostdin', ...args], { cwd: root })
    assert.equal(code, 0, stderr)
  }
  const rate = '-b:v 8M -minrate 8M -maxrate 8M -bufsize 8M -x264-params nal-hrd=cbr'.split(' ')
  await ffmpeg(
    ...'-f lavfi -i testsrc=size=640x360:rate=25 -f lavfi -i anoisesrc=r=44100 -t 20'.split(' '),
    ...'-c:v libx264 -preset ultrafast -g 50 -c:a aac'.split(' '),
    ...rate,
    'last.mp4',
  )
  await ffmpeg(...'-i last.mp4 -c copy -movflags +faststart first.mp4'.split(' '))
  await ffmpeg(...'-i last.mp4 -c copy film.mkv'.split(' '))
  return ['last.mp4', 'first.mp4', 'film.mkv']
}

async function play(path: string, ...options: string[]): Promise<string> {
  const quiet = '--no-config --vo=null --ao=null --no-terminal --msg-level=all=no --term-status-msg='.split(' ')
  const { code, stdout, stderr } = await runProgram('mpv', [...quiet, ...options, path])
  assert.equal(code, 0, `${stdout.toString()}${stderr}`)
  return stdout.toString()
}

test('mpv plays films from the mount to their end, from the start and from the middle', LIMIT, async (t) => {
  const films = await served(t, makeFilms)
  const mount = await films.mount()
  for (const name of ['last.mp4', 'first.mp4', 'film.mkv']) {
    const path = join(mount.path, name)
    await play(path, '--speed=20')
    await play(path, '--speed=20', '--start=50%', '--end=70%')
  }
  assert.equal(await mount.stop(), 0, mount.log())
})

test('ffprobe of a film fetches little of it, one frame from its middle not much more', LIMIT, async (t) => {
  const films = await served(t, makeFilms)
  for (const name of ['last.mp4', 'first.mp4', 'film.mkv']) {
    const mount = await films.mount()
    const path = join(mount.path, name)
    const before = await films.fetched()
    const probe = await runProgram('ffprobe', ['-v', 'error', '-show_entries', 'format=duration', '-of', 'csv', path])
    assert.match(probe.stdout.toString(), /^format,20\./)
    const probed = (await films.fetched()) - before
    assert.ok(probed <= 4 * MIB, `${probed} bytes fetched for ffprobe of ${name}`)
    const one = '-frames:v 1 -f null -'.split(' ')
    const frame = await runProgram('ffmpeg', ['-v', 'error', '-nostdin', '-ss', '10', '-i', path, ...one])
    assert.equal(frame.code, 0, frame.stderr)
    assert.equal(await mount.stop(), 0, mount.log())
    const fetched = (await films.fetched()) - before
    t.diagnostic(`${name}: ${probed} bytes for ffprobe, ${fetched} with a frame`)
    assert.ok(fetched <= 16 * MIB, `${fetched} bytes fetched for a frame of ${name}`)
  }
})

test('programs that look into many files fetch about what they read', LIMIT, async (t) => {
  const size = 8 * MIB
  const count = 30
  const many = await served(t, async (root) => {
    const names = Array.from({ length: count }, (_, i) => `${i}.bin`)
    for (const name of names) await writeFile(join(root, name), pseudoRandom(size, name))
    return names
  })
  const table: [string, string, number][] = [
    ['head', 'head -c 100 "$f" > /dev/null', 2 * PIECE],
    ['more', 'dd if="$f" of=/dev/null bs=64K count=6 status=none', 8 * PIECE],
  ]
  for (const [name, command, most] of table) {
    const mount = await many.mount()
    const before = await many.fetched()
    const { code } = await runProgram('sh', ['-c', `for f in "$1"/*.bin; do ${command}; done`, 'sh', mount.path])
    assert.equal(code, 0)
    assert.equal(await mount.stop(), 0, mount.log())
    const each = ((await many.fetched()) - before) / count
    t.diagnostic(`${name}: ${Math.round(each)} bytes fetched a file`)
    assert.ok(each <= most, `${name}: ${each} bytes fetched a file`)
  }
})

test('--streaming=off fetches nothing but what is read', LIMIT, async (t) => {
  const large = await served(t, async (root) => {
    await writeFile(join(root, 'large.bin'), pseudoRandom(32 * MIB, 'large'))
    return ['large.bin']
  })
  for (const [option, least, most] of [
    // The kernel adds up to 1 MiB twice.
    ['off', 4 * MIB, 6 * MIB + PIECE],
    ['on', 6 * MIB + PIECE, 32 * MIB],
  ] as const) {
    const mount = await large.mount([`--streaming=${option}`])
    const before = await large.fetched()
    const argv = [`if=${join(mount.path, 'large.bin')}`, 'of=/dev/null', 'bs=64K', 'count=64', 'status=none']
    assert.equal((await runProgram('dd', argv)).code, 0)
    assert.equal(await mount.stop(), 0, mount.log())
    const fetched = (await large.fetched()) - before
    t.diagnostic(`streaming ${option}: ${fetched} bytes fetched for 4 MiB`)
    assert.ok(fetched >= least && fetched <= most, `${option}: ${fetched}`)
  }
})

test('past the budget reads that need fetching fail with EDQUOT and say why, cached ones go on', LIMIT, async (t) => {
  const content = pseudoRandom(16 * MIB, 'large')
  const large = await served(t, async (root) => {
    await writeFile(join(root, 'large.bin'), content)
    return ['large.bin']
  })
  // git-annex has looked at it.
  const before = await large.fetched()
  const mount = await large.mount(['--budget=2MiB'])
  const file = await open(join(mount.path, 'large.bin'))
  const bytes = Buffer.alloc(4096)
  const read = (at: number): Promise<boolean> =>
    within(
      60_000,
      'read',
      file.read(bytes, 0, bytes.length, at).then(({ bytesRead }) => {
        assert.ok(content.subarray(at, at + bytesRead).equals(bytes.subarray(0, bytesRead)))
        return bytesRead === bytes.length
      }),
    )
  try {
    const good: number[] = []
    let refused: unknown
    for (let i = 0; i < 40 && refused === undefined; i++) {
      const at = ((i * 37) % 120) * PIECE + 8192
      try {
        assert.ok(await read(at))
        good.push(at)
      } catch (error) {
        refused = error
      }
    }
    // Node.js has no name for it.
    assert.equal((refused as NodeJS.ErrnoException).errno, -122)
    assert.equal(good.length, 16, 'a piece for each read, up to the budget')
    const fetched = (await large.fetched()) - before
    assert.ok(fetched <= 2 * MIB, `${fetched} bytes fetched`)
    for (const at of good) assert.ok(await read(at + 65_536), 'what is cached can be read')
    await mount.logged(/--budget of 2097152 bytes .*larger --budget/)
  } finally {
    await file.close()
  }
  assert.equal(await mount.stop(), 0, mount.log())
})
