import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { lstat, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { annexWorld } from '../support/annex.js'
import { startNginx } from '../support/nginx.js'
import { pseudoRandom } from '../support/peers.js'
import { REACH_NGINX } from '../support/sample.js'
import { mountSession, runProgram, within } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'
import { randomPreads, type Pair } from './preads.js'

const LIMIT = { timeout: 180_000 }
const MIB = 1024 * 1024

/** A repository with one file at a web server alone. */
async function webFile(t: TestContext, size: number): Promise<{ repository: string; content: Buffer; source: string }> {
  const world = await annexWorld(t)
  const nginx = await startNginx(t)
  const content = pseudoRandom(size, 'file')
  const source = join(nginx.root, 'file')
  await writeFile(source, content)
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--fast', '--file=file', `${nginx.url}/file`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  return { repository, content, source }
}

async function tmpfs(t: TestContext, size: string): Promise<string> {
  const folder = join(await temporaryFolder(t), 'tmpfs')
  await mkdir(folder)
  const { code, stderr } = await runProgram('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder])
  assert.equal(code, 0, stderr)
  return folder
}

async function takeOff(folder: string): Promise<void> {
  const { code, stderr } = await runProgram('umount', ['-l', folder])
  assert.equal(code, 0, stderr)
}

/** Bytes on disk of all files under `folder`. */
async function diskUse(folder: string): Promise<number> {
  let total = 0
  const names = await readdir(folder, { recursive: true }).catch(() => [])
  for (const name of names) {
    // Files come and go under us.
    const stats = await lstat(join(folder, name)).catch(() => undefined)
    if (stats?.isFile() === true) total += stats.blocks * 512
  }
  return total
}

test(
  'goal 17: a file of 256 MiB is read whole and right through a cache on a full disk of 64 MiB',
  LIMIT,
  async (t) => {
    const { repository, content } = await webFile(t, 256 * MIB)
    const disk = await tmpfs(t, '64m')
    try {
      const options = [...REACH_NGINX, '--cache-size', '10GiB']
      const mount = await mountSession(t, [repository], { cache: join(disk, 'cache'), options })
      const { code, stdout, stderr } = await runProgram('sha256sum', [join(mount.path, 'file')])
      assert.equal(code, 0, `${stderr} ${mount.log()}`)
      assert.equal(stdout.toString().split(' ')[0], createHash('sha256').update(content).digest('hex'))
      assert.equal(await mount.stop(), 0)
    } finally {
      await takeOff(disk)
    }
  },
)

test('goal 18: the cache is removed again and again under a mount that is read', LIMIT, async (t) => {
  const { repository, source } = await webFile(t, 30 * MIB)
  const mount = await mountSession(t, [repository], { options: REACH_NGINX })
  const pairs: Pair[] = [{ mounted: join(mount.path, 'file'), source, size: 30 * MIB }]
  let reading = true
  const removals = (async (): Promise<number> => {
    let count = 0
    for (; reading; count++) {
      await sleep(150)
      // As a person would, with the mount writing into it meanwhile.
      await runProgram('rm', ['-rf', mount.cache])
    }
    return count
  })()
  try {
    assert.equal(await randomPreads(pairs, { seed: 18, count: 9_000 }), 9_000)
  } finally {
    reading = false
  }
  t.diagnostic(`removed ${await removals} times`)
  assert.equal(await randomPreads(pairs, { seed: 19, count: 500 }), 500)
  await rm(mount.cache, { recursive: true, force: true })
  assert.ok((await readFile(source)).equals(await within(60_000, 'read', readFile(pairs[0]?.mounted ?? ''))))
  assert.equal(await mount.stop(), 0, mount.log())
})

test('goal 19: the cache stays within its bound while it is read through', LIMIT, async (t) => {
  const { repository, source } = await webFile(t, 120 * MIB)
  const bound = 24 * MIB
  const mount = await mountSession(t, [repository], { options: [...REACH_NGINX, '--cache-size', '24MiB'] })
  const most = watchDisk(mount.cache)
  const { code } = await runProgram('cmp', [join(mount.path, 'file'), source])
  assert.equal(code, 0)
  const pairs = [{ mounted: join(mount.path, 'file'), source, size: 120 * MIB }]
  assert.equal(await randomPreads(pairs, { seed: 20, count: 1_000 }), 1_000)
  const used = await most.end()
  t.diagnostic(`at most ${(used / MIB).toFixed(1)} MiB`)
  // What is being written when others are being removed.
  assert.ok(used <= bound + 4 * MIB, `${used} bytes of ${bound}`)
  assert.ok(used > bound / 2, 'and it is used')
})

test('goal 20: two mounts share one small cache', LIMIT, async (t) => {
  const first = await webFile(t, 40 * MIB)
  const second = await webFile(t, 30 * MIB)
  const options = [...REACH_NGINX, '--cache-size', '16MiB']
  const one = await mountSession(t, [first.repository, second.repository], { options })
  const two = await mountSession(t, [second.repository, first.repository], { options, cache: one.cache })
  const most = watchDisk(one.cache)
  const pairs = [one, two].flatMap((mount, index) => [
    { mounted: join(mount.path, 'a', 'file'), ...sized(index === 0 ? first : second) },
    { mounted: join(mount.path, 'a (2)', 'file'), ...sized(index === 0 ? second : first) },
  ])
  assert.equal(await randomPreads(pairs, { seed: 21, count: 3_000 }), 3_000)
  const used = await most.end()
  assert.ok(used <= 20 * MIB, `${used} bytes of 16 MiB`)
  assert.equal(await one.stop(), 0)
  assert.equal(await randomPreads(pairs.slice(2), { seed: 22, count: 500 }), 500)
  assert.equal(await two.stop(), 0)

  function sized({ source, content }: { source: string; content: Buffer }): { source: string; size: number } {
    return { source, size: content.length }
  }
})

/** Looks at what a folder takes on disk ten times a second; `end` gives the most that was seen. */
function watchDisk(folder: string): { end(): Promise<number> } {
  let most = 0
  let watching = true
  const watch = (async (): Promise<void> => {
    while (watching) {
      most = Math.max(most, await diskUse(folder))
      await sleep(100)
    }
  })()
  return {
    end: async () => {
      watching = false
      await watch
      return most
    },
  }
}
