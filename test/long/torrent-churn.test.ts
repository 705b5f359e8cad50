import assert from 'node:assert/strict'
import { mkdir, readdir, rename, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { watchWithChokidar, type WatchFolder } from '../../lib/tree/torrent-watch.js'
import { makeTorrent } from '../support/metainfo.js'
import { temporaryFolder } from '../support/temp.js'
import { names, never, openFolder, until } from '../tree/torrent-support.js'

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
const COUNT = 10_000

/** Mulberry32: numbers in [0, 1) that a seed repeats. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Drops nine of ten events, as the kernel does when its queue is small. */
const lossy =
  (random: () => number): WatchFolder =>
  (folder, watching) =>
    watchWithChokidar(folder, {
      ...watching,
      onChange: (path) => {
        if (random() < 0.1) watching.onChange(path)
      },
    })

/** Does `work` for each item, 50 at a time. */
async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += 50) await Promise.all(items.slice(start, start + 50).map(work))
}

for (const [name, watcher] of [
  ['', () => watchWithChokidar],
  [' with nine of ten events lost', lossy],
] as const) {
  test(`goal 40: 10,000 metainfo files added, renamed, replaced and deleted under reads${name}: the tree is the folder within 10 s`, async (t) => {
    const random = randomFrom(SEED)
    const folder = await temporaryFolder(t)
    await mkdir(join(folder, 'sub'))
    const tree = await openFolder(t, folder, { watch: watcher(random) })
    const expected = new Map<string, string>()
    let reads = 0
    let churning = true
    const reading = (async () => {
      while (churning) {
        for (const path of ['/', '/sub']) {
          const entries = await tree.list(path, never)
          for (const { name: entry, node } of entries.slice(0, 50)) {
            if (node.kind !== 'file' || node.content.kind !== 'torrent') continue
            await tree.lookup(`${path === '/' ? '' : path}/${entry}`, never)
            reads += 1
          }
        }
        await sleep(50)
      }
    })()

    await inParallel(
      Array.from({ length: COUNT }, (_, index) => index),
      async (index) => {
        const path = join(index % 3 === 0 ? 'sub' : '', `f${index}.torrent`)
        await writeFile(join(folder, path), makeTorrent({ name: `t${index}`, length: 1000 }))
        expected.set(path, `t${index}`)
      },
    )
    await inParallel([...expected.keys()].sort(), async (path) => {
      const what = random()
      const content = expected.get(path) ?? ''
      if (what < 0.3) {
        expected.delete(path)
        await unlink(join(folder, path))
      } else if (what < 0.6) {
        const moved = join(random() < 0.5 ? 'sub' : '', `r-${path.replace('sub/', '')}`)
        expected.delete(path)
        expected.set(moved, content)
        await rename(join(folder, path), join(folder, moved))
      } else if (what < 0.7) {
        expected.set(path, `${content}-again`)
        await writeFile(join(folder, path), makeTorrent({ name: `${content}-again`, length: 1000 }))
      }
    })
    const began = performance.now()
    const wanted = (below: boolean): string =>
      [...expected]
        .filter(([path]) => path.startsWith('sub/') === below)
        .map(([, content]) => content)
        .concat(below ? [] : ['sub'])
        .sort()
        .join()
    const [top, below] = [wanted(false), wanted(true)]
    await until(async () => (await names(tree)).join() === top && (await names(tree, '/sub')).join() === below, 10_000)
    const took = performance.now() - began
    churning = false
    await reading
    assert.equal((await readdir(folder)).length + (await readdir(join(folder, 'sub'))).length, expected.size + 1)
    t.diagnostic(`seed ${SEED}; equal after ${Math.round(took)} ms; ${reads} lookups meanwhile`)
  })
}
