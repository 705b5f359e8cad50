import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AnnexfsError } from '../../lib/errors.js'
import type { Content } from '../../lib/engine/content.js'
import { BackgroundLimit, limitFor } from '../../lib/fuse/background-limit.js'
import { clampTime } from '../../lib/fuse/attributes.js'
import { Deadlines } from '../../lib/fuse/deadline.js'
import { errnoOf, readErrnoOf } from '../../lib/fuse/errno.js'
import { Failures } from '../../lib/fuse/failures.js'
import { Handles, type Handle } from '../../lib/fuse/handles.js'
import { safeName } from '../../lib/fuse/mount-options.js'
import { mountAt, parseMountTable } from '../../lib/fuse/mount-table.js'
import { isShowable } from '../../lib/fuse/names.js'
import { Pins } from '../../lib/fuse/pins.js'
import { ToldSizes } from '../../lib/fuse/told-sizes.js'
import type { FileNode } from '../../lib/tree/tree.js'
import { until } from '../support/peers.js'

test('the mount table is parsed with its escapes, and the topmost mount wins', () => {
  const table = parseMountTable(
    [
      '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue',
      '50 27 0:45 / /mnt/a\\040b\\012c\\134d\\043 ro,nosuid shared:7 master:2 - fuse.annexfs the\\040name ro,user_id=0',
      '51 50 0:46 / /mnt/a\\040b\\012c\\134d\\043 rw - tmpfs none rw',
      '52 27 0:47 / /mnt/\u00c3\u00bc rw - tmpfs none rw',
      'nonsense',
      '',
    ].join('\n'),
  )
  assert.equal(table.length, 4)
  assert.deepEqual(table[1], {
    id: 50,
    device: '0:45',
    mountpoint: '/mnt/a b\nc\\d#',
    options: ['ro', 'nosuid'],
    type: 'fuse.annexfs',
    source: 'the name',
  })
  assert.equal(mountAt(table, '/mnt/a b\nc\\d#')?.id, 51)
  assert.equal(mountAt(table, '/mnt/ü')?.id, 52)
  assert.equal(mountAt(table, '/mnt'), undefined)
})

test('a name cannot end its mount option or overflow', () => {
  assert.equal(safeName('a,suid\\,b c\n'), 'a_suid__b_c_')
  assert.equal(safeName(''), 'annexfs')
  assert.ok(Buffer.byteLength(safeName('ü'.repeat(1000))) <= 200)
})

test('names that would spoil a folder are not shown', () => {
  for (const name of ['', '.', '..', 'a/b', 'a\0b', 'x'.repeat(256), 'ü'.repeat(128)])
    assert.equal(isShowable(name), false)
  for (const name of ['a', '...', 'x'.repeat(255), 'ü'.repeat(127), '-rf', 'new\nline'])
    assert.equal(isShowable(name), true)
})

test('errors of the layers below become error numbers', () => {
  assert.equal(errnoOf(new AnnexfsError('NOT_FOUND', '')), -2)
  assert.equal(errnoOf(new AnnexfsError('FORBIDDEN', '')), -13)
  assert.equal(errnoOf(new Error('anything')), -5)
  assert.equal(readErrnoOf(new AnnexfsError('TIMED_OUT', '')), -110)
  assert.equal(readErrnoOf(new AnnexfsError('FORBIDDEN', '')), -5)
})

test('times outside of what the native layer carries are clamped', () => {
  assert.equal(clampTime(-1), 0)
  assert.equal(clampTime(Number.NaN), 0)
  assert.equal(clampTime(12.7), 12)
  assert.equal(clampTime(Number.MAX_VALUE), 2 ** 40 * 1000)
})

test('handles are small integers from 1, used again', () => {
  const handles = new Handles()
  const handle = {} as Handle
  assert.deepEqual([handles.add(handle), handles.add(handle), handles.add(handle)], [1, 2, 3])
  handles.remove(2)
  assert.equal(handles.get(2), undefined)
  assert.equal(handles.get(99), undefined)
  assert.equal(handles.remove(2), undefined)
  assert.equal(handles.size, 2)
  assert.equal(handles.add(handle), 2)
})

test('the limit of buffered reads rises with the slow ones and sinks late', () => {
  assert.equal(limitFor(0, 32), 32)
  assert.equal(limitFor(1, 32), 64)
  assert.equal(limitFor(100, 32), 160)
  assert.equal(limitFor(60, 160), 160, 'not at once')
  assert.equal(limitFor(30, 160), 64)
  assert.equal(limitFor(100_000, 32), 512)
})

test('the limit rises for reads that began before it was set', async () => {
  const told: number[] = []
  const limit = new BackgroundLimit(async (count) => {
    told.push(count)
    return await Promise.resolve(true)
  })
  for (let n = 0; n < 40; n++) limit.started()
  await limit.begin()
  await until('it rises', () => (told.at(-1) ?? 0) > 40)
  limit.stop()
})

test('an open waits only for another size, and only while the kernel may hold it', () => {
  const told = new ToldSizes(100)
  told.tell('/a', 5, 1000)
  assert.equal(told.remaining('/a', 5, 1010), 0)
  assert.equal(told.remaining('/a', 6, 1010), 90)
  assert.equal(told.remaining('/a', 6, 1200), 0)
  told.tell('/b', 1, 1150)
  assert.equal(told.remaining('/a', 6, 1090), 10, 'the generation before is remembered')
  assert.equal(told.remaining('/none', 6, 1090), 0)
})

function file(id: string, size = 10): FileNode<Content> {
  const content = { kind: 'blob', id, size, sha: '' } as Content
  return { kind: 'file', mtime: 5_000_999, size, executable: false, content }
}

test('a path keeps its content while it is open, and a change moves its time within the second', () => {
  const pins = new Pins()
  const first = pins.take('/p', file('a'))
  assert.ok(pins.found(first, 'a', 10))
  assert.equal(pins.take('/p', file('b')), first)
  assert.equal(pins.found(first, 'b', 10), false)
  pins.release(first)
  assert.equal(pins.get('/p')?.node.content.id, 'a')
  pins.release(first)
  assert.equal(pins.get('/p'), undefined)
  assert.equal(pins.shownTime('/p', file('a')), 5_000_999)
  assert.equal(pins.shownTime('/p', file('b')), 5_000_000, 'another content, not opened yet')
  const second = pins.take('/p', file('b'))
  assert.ok(pins.found(second, 'b', 10))
  assert.equal(pins.shownTime('/p', file('b')), 5_000_000)
})

test('opens beside the first after a change wait until the kernel has seen that one', async () => {
  const pins = new Pins()
  const pin = pins.take('/p', file('a'))
  pins.take('/p', file('a'))
  assert.ok(pins.found(pin, 'a', 10))
  await pins.turn(pin)
  let passed = false
  const beside = pins.turn(pin).then(() => (passed = true))
  await new Promise(setImmediate)
  assert.equal(passed, false)
  pin.gate?.open()
  await beside
  pins.release(pin)
  pins.release(pin)
  const again = pins.take('/p', file('a'))
  assert.ok(pins.found(again, 'a', 10))
  await pins.turn(again)
  assert.notEqual(again.gate, undefined, 'the kernel may have forgotten the path meanwhile')
})

test('the same node with another content counts as changed', () => {
  const pins = new Pins()
  const first = pins.take('/p', file('url'))
  assert.ok(pins.found(first, 'etag-1', 10))
  pins.release(first)
  const before = pins.shownTime('/p', file('url'))
  const second = pins.take('/p', file('url'))
  assert.ok(pins.found(second, 'etag-2', 10))
  assert.notEqual(pins.shownTime('/p', file('url')), before)
})

test('a path that was forgotten counts as changed', () => {
  const pins = new Pins({ remembered: 2 })
  for (const path of ['/a', '/b', '/c']) {
    const pin = pins.take(path, file('x'))
    assert.ok(pins.found(pin, 'x', 10))
    pins.release(pin)
  }
  const again = pins.take('/a', file('y'))
  assert.ok(pins.found(again, 'y', 10))
  assert.notEqual(pins.shownTime('/a', file('y')), 5_000_999)
})

test('a read that just failed fails again at once, later it is tried again', () => {
  const failures = new Failures()
  failures.add(1000, 2000, -110, 0)
  assert.equal(failures.find(1000, 1100, 10), -110)
  assert.equal(failures.find(1900, 2100, 10), undefined)
  assert.equal(failures.find(1000, 1100, 600), undefined)
})

test('work ends at its deadline and at the stop, and what comes late is handed over', async () => {
  const deadlines = new Deadlines(50)
  assert.equal(await deadlines.run('x', () => 1), 1)
  let late: ((value: number) => void) | undefined
  const given = new Promise<number>((resolve) => {
    late = resolve
  })
  const slow = (signal: AbortSignal): Promise<number> =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve(7)))
  await assert.rejects(deadlines.run('slow', slow, late), { code: 'TIMED_OUT' })
  assert.equal(await given, 7)
  const patient = new Deadlines(60_000)
  const waiting = patient.run('for ever', () => new Promise(() => undefined))
  patient.stop()
  await assert.rejects(waiting, { code: 'ABORTED' })
  await assert.rejects(
    patient.run('more', () => new Promise(() => undefined)),
    { code: 'ABORTED' },
  )
  await patient.wait(60_000)
})
