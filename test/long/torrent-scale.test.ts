import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { makeTorrent, type MadeFile } from '../support/metainfo.js'
import { temporaryFolder } from '../support/temp.js'
import { never, openFolder } from '../tree/torrent-support.js'

const COUNT = 10_000
const FILES_EACH = 50
const PIECES_EACH = 5_000
const MIB = 1024 * 1024

test(
  'goal 39: 10,000 torrents of 100 KB and 50 files each are listed within a minute and 2 GiB',
  { timeout: 600_000 },
  async (t) => {
    const folder = await temporaryFolder(t)
    const files: readonly MadeFile[] = Array.from({ length: FILES_EACH }, (_, index) => ({
      path: [`part ${index % 5}`, `track number ${index}.flac`],
      length: (16_384 * PIECES_EACH) / FILES_EACH,
    }))
    for (let index = 0; index < COUNT; index += 1) {
      const options = { name: `Torrent number ${index}`, files, extra: { pieces: randomBytes(20 * PIECES_EACH) } }
      // The hashes are random anyway: a single piece is made and then replaced.
      await writeFile(
        join(folder, `${index}.torrent`),
        makeTorrent({
          ...options,
          pieceLength: 16_384 * PIECES_EACH,
          extra: { ...options.extra, 'piece length': 16_384 },
        }),
      )
    }
    const before = process.memoryUsage().rss
    const delay = monitorEventLoopDelay({ resolution: 5 })
    delay.enable()
    const began = performance.now()
    const tree = await openFolder(t, folder)
    const opened = performance.now() - began
    const entries = await tree.list('/', never)
    assert.equal(entries.length, COUNT)
    let names = 0
    const listing = performance.now()
    for (const { name } of entries) {
      for (const entry of await tree.list(`/${name}`, never))
        names += (await tree.list(`/${name}/${entry.name}`, never)).length
    }
    const listed = performance.now() - listing
    assert.equal(names, COUNT * FILES_EACH)
    const loading = performance.now()
    for (const { name } of entries.slice(0, 1000)) {
      const node = await tree.lookup(`/${name}/part 1/track number 1.flac`, never)
      assert.ok(node?.kind === 'file' && node.content.kind === 'torrent')
      await node.content.torrent.load()
    }
    const loaded = performance.now() - loading
    delay.disable()
    const { rss } = process.memoryUsage()
    const peak = process.resourceUsage().maxRSS / 1024
    t.diagnostic(`opened in ${Math.round(opened)} ms; all ${names} files listed in ${Math.round(listed)} ms`)
    t.diagnostic(`1,000 torrents loaded in ${Math.round(loaded)} ms`)
    t.diagnostic(
      `memory ${Math.round(rss / MIB)} MiB (${Math.round((rss - before) / MIB)} more than before), peak ${Math.round(peak)} MiB`,
    )
    t.diagnostic(
      `event loop: 99th percentile ${Math.round(delay.percentile(99) / 1e6)} ms, most ${Math.round(delay.max / 1e6)} ms`,
    )
    assert.ok(peak <= 2048, `${peak} MiB`)
    assert.ok(opened < 60_000)
  },
)
