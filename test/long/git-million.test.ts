import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { test } from 'node:test'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { GitTree } from '../../lib/tree/git-tree.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'

const FILES = 1_000_000

/** A repository of FILES locked annexed files: half of them in one folder, the others 1,000 a folder. */
async function makeMillion(world: AnnexWorld): Promise<string> {
  const folder = await world.repository('million', { plain: true, bare: true })
  const marks = join(world.folder, 'marks')
  const child = spawn('git', ['fast-import', '--quiet', `--export-marks=${marks}`], {
    cwd: folder,
    env: world.environment,
    stdio: ['pipe', 'inherit', 'inherit'],
  })
  const gone = once(child, 'close')
  for (let from = 0; from < FILES; from += 1000) {
    let text = ''
    for (let index = from; index < from + 1000; index++) {
      const key = `SHA256E-s${index}--${index.toString(16).padStart(64, '0')}.bin`
      const target = `../.git/annex/objects/00/11/${key}/${key}`
      text += `blob\nmark :${index + 1}\ndata ${target.length}\n${target}\n`
    }
    if (!child.stdin.write(text)) await once(child.stdin, 'drain')
  }
  child.stdin.end()
  assert.deepEqual(await gone, [0, null])
  // fast-import itself takes quadratic time for a large folder.
  const entries: string[] = []
  for (const line of (await readFile(marks, 'latin1')).split('\n')) {
    const [mark, sha] = line.split(' ')
    const index = Number(mark?.slice(1)) - 1
    if (sha !== undefined) entries[index] = `120000 blob ${sha}\tfile-${index}.bin\n`
  }
  const folders = [entries.slice(0, FILES / 2)]
  for (let from = FILES / 2; from < FILES; from += 1000) folders.push(entries.slice(from, from + 1000))
  const input = folders.map((lines) => lines.join('')).join('\n')
  const trees = (await world.run('million', 'git', ['mktree', '--batch'], { input })).toString().trim().split('\n')
  const names = trees.map((sha, index) => `040000 tree ${sha}\t${index === 0 ? 'big' : `d${index}`}\n`)
  const root = (await world.run('million', 'git', ['mktree'], { input: names.join('') })).toString().trim()
  const commit = await world.git('million', 'commit-tree', '-m', 'million', root)
  await world.git('million', 'update-ref', 'refs/heads/main', commit)
  return folder
}

test('goal 39: a million files are listed within 1 GiB and without stalls', { timeout: 900_000 }, async (t) => {
  const world = await annexWorld(t)
  const git = await GitRepository.open(await makeMillion(world), silentLog)
  t.after(() => git.close())
  const annex = await AnnexRepository.open(git, silentLog)
  const tree = await GitTree.open({ git, annex, ref: undefined, log: silentLog })
  t.after(() => tree.close())
  const { signal } = new AbortController()
  const delay = monitorEventLoopDelay({ resolution: 10 })
  let peak = 0
  const sampling = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 50)
  t.after(() => clearInterval(sampling))
  delay.enable()
  const began = performance.now()
  let files = 0
  let bytes = 0
  for (const { name, node } of await tree.list('/', signal)) {
    assert.equal(node.kind, 'dir')
    for (const entry of await tree.list(`/${name}`, signal)) {
      if (entry.node.kind !== 'file') continue
      files++
      bytes += entry.node.size ?? 0
    }
  }
  const listed = performance.now()
  // What `ls -l` does after: one lookup a name, in a folder that is in memory.
  await tree.list('/big', signal)
  for (let index = 0; index < FILES / 2; index += 7) {
    const node = tree.lookup(`/big/file-${index}.bin`, signal)
    assert.ok(!(node instanceof Promise), 'a name of a folder that was just listed is answered at once')
    assert.equal(node?.kind, 'file')
    if (index % 5000 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  delay.disable()
  assert.equal(files, FILES)
  assert.equal(bytes, ((FILES - 1) * FILES) / 2)
  const stall = delay.percentile(99) / 1e6
  const memory = peak / 1024 ** 2
  t.diagnostic(`listed in ${((listed - began) / 1000).toFixed(1)} s, p99 stall ${stall.toFixed(0)} ms`)
  t.diagnostic(`longest stall ${(delay.max / 1e6).toFixed(0)} ms, peak memory ${memory.toFixed(0)} MiB`)
  assert.ok(stall <= 100, `99 % of stalls are at most 100 ms, found ${stall.toFixed(0)} ms`)
  assert.ok(memory <= 1024, `memory is at most 1 GiB, found ${memory.toFixed(0)} MiB`)
})
