import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { spawn } from 'node:child_process'
import { test } from 'node:test'
import { mountInChild } from '../support/mount.js'
import { bytesOf } from './memory-volume.js'

const MEMORY = new URL('./memory-module.js', import.meta.url)
const SIZE = 5 * 1024 * 1024 + 4321

/** Reads the file in one way of many and prints the SHA-256 of what came. */
const READER = `
import sys, os, mmap, hashlib
how, path = sys.argv[1:3]
fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if how == 'direct' else 0))
size = os.fstat(fd).st_size
digest = hashlib.sha256()
if how == 'mmap':
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as view: digest.update(view)
elif how == 'direct':
    buffer = mmap.mmap(-1, 1 << 20); at = 0
    while at < size:
        count = os.preadv(fd, [buffer], at); digest.update(buffer[:count]); at += count
        if count == 0: break
else:
    out = os.memfd_create('out')
    inside, outside = os.pipe(); at = 0
    while at < size:
        if how == 'sendfile': count = os.sendfile(out, fd, at, size - at)
        else:
            count = os.splice(fd, outside, 65536, offset_src=at)
            digest.update(os.read(inside, count))
        if count == 0: break
        at += count
    if how == 'sendfile':
        os.lseek(out, 0, 0)
        while True:
            part = os.read(out, 1 << 20)
            if not part: break
            digest.update(part)
print(digest.hexdigest())
`

async function run(program: string, ...args: string[]): Promise<string> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let failures = ''
  child.stdout.setEncoding('latin1').on('data', (text: string) => (out += text))
  child.stderr.setEncoding('latin1').on('data', (text: string) => (failures += text))
  const [code] = (await once(child, 'close')) as [number | null]
  assert.equal(code, 0, `${program} ${args.join(' ')}: ${failures}`)
  return out.trim()
}

test('goal 3: sendfile, splice, mmap, O_DIRECT, cp and tar give the same bytes', { timeout: 180_000 }, async (t) => {
  for (const delay of [undefined, 2]) {
    const file = { size: SIZE, seed: 7, ...(delay === undefined ? {} : { delay }) }
    const mount = await mountInChild(t, MEMORY, { '/data.bin': file })
    const path = `${mount.path}/data.bin`
    const expected = createHash('sha256')
      .update(bytesOf(7, 0, SIZE))
      .digest('hex')
    for (const how of ['direct', 'splice', 'sendfile', 'mmap']) {
      assert.equal(await run('/usr/bin/python3', '-c', READER, how, path), expected, how)
    }
    assert.match(
      await run('/bin/sh', '-c', 'cp "$1" "$2" && sha256sum < "$2"', 'sh', path, `${mount.path}.copy`),
      new RegExp(expected),
    )
    assert.match(
      await run('/bin/sh', '-c', 'tar -C "$1" -cf - data.bin | tar -xOf - | sha256sum', 'sh', mount.path),
      new RegExp(expected),
    )
    assert.equal(await mount.stop(), 0)
  }
})

test('odd offsets around the end give what is there and nothing more', { timeout: 180_000 }, async (t) => {
  const sizes = [0, 1, 4095, 4096, 4097, 131_072, 131_073]
  const spec = Object.fromEntries(sizes.map((size) => [`/f${size}`, { size, seed: size }]))
  const big = 5 * 1024 ** 3
  const mount = await mountInChild(t, MEMORY, { ...spec, '/big': { size: big, seed: 3 } })
  const { open } = await import('node:fs/promises')
  for (const size of sizes) {
    const file = await open(`${mount.path}/f${size}`)
    try {
      for (const [offset, length] of [
        [0, size + 10],
        [Math.max(0, size - 1), 10],
        [size, 10],
        [size + 5000, 10],
      ] as const) {
        const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, offset)
        const end = Math.min(size, offset + length)
        const wanted = end > offset ? bytesOf(size, offset, end) : Buffer.alloc(0)
        assert.deepEqual(buffer.subarray(0, bytesRead), wanted, `${size} at ${offset}`)
      }
    } finally {
      await file.close()
    }
  }
  const file = await open(`${mount.path}/big`)
  try {
    assert.equal((await file.stat()).size, big)
    const { buffer } = await file.read(Buffer.alloc(1000), 0, 1000, 2 ** 32 - 500)
    assert.deepEqual(buffer, bytesOf(3, 2 ** 32 - 500, 2 ** 32 + 500))
  } finally {
    await file.close()
  }
})

test('a reader that fails or gives too little is EIO, never short and never zeros', { timeout: 180_000 }, async (t) => {
  const mount = await mountInChild(t, MEMORY, {
    '/fails': { size: 10_000, fails: 'UNAVAILABLE' },
    '/late': { size: 10_000, fails: 'TIMED_OUT' },
    '/short': { size: 10_000, short: true },
    '/good': { size: 10_000, seed: 1 },
  })
  const { readFile } = await import('node:fs/promises')
  await assert.rejects(readFile(`${mount.path}/fails`), { code: 'EIO' })
  await assert.rejects(readFile(`${mount.path}/late`), { code: 'ETIMEDOUT' })
  await assert.rejects(readFile(`${mount.path}/short`), { code: 'EIO' })
  assert.deepEqual(await readFile(`${mount.path}/good`), bytesOf(1, 0, 10_000))
  assert.match(mount.log(), /cannot read \/fails/)
})
