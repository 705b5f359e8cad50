import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { patiently } from '../../lib/sources/patience.js'

const never = new AbortController().signal

/** Keeps the process alive, as a read of a mount does. */
function deadline(ms: number): AbortSignal {
  const controller = new AbortController()
  setTimeout(() => controller.abort(new DOMException('too late', 'TimeoutError')), ms)
  return controller.signal
}

test('readers that change their mind do not make a place unusable', async () => {
  for (let round = 0; round < 20; round++) {
    const left = new AbortController()
    const slow = patiently('busy', left.signal, () => sleep(200))
    left.abort()
    await assert.rejects(slow, { code: 'ABORTED' })
  }
  assert.equal(await patiently('busy', never, () => Promise.resolve('answer')), 'answer')
})

test('a place whose operations never come back is given up, until they do', async () => {
  const ends: (() => void)[] = []
  for (let round = 0; round < 2; round++) {
    const stuck = patiently('dead', deadline(1), () => new Promise<void>((resolve) => ends.push(resolve)))
    await assert.rejects(stuck, { code: 'TIMED_OUT' })
  }
  await sleep(1_100)
  await assert.rejects(
    patiently('dead', never, () => Promise.resolve('answer')),
    { code: 'UNAVAILABLE' },
  )
  assert.equal(await patiently('other', never, () => Promise.resolve('answer')), 'answer')
  for (const end of ends) end()
  await sleep(10)
  assert.equal(await patiently('dead', never, () => Promise.resolve('answer')), 'answer')
})

test('a place has four operations under way at most; those that wait leave at their deadline', async () => {
  const ends: (() => void)[] = []
  let begun = 0
  const hang = (signal: AbortSignal): Promise<void> =>
    patiently('full', signal, () => {
      begun++
      return new Promise<void>((resolve) => ends.push(resolve))
    })
  const all = Array.from({ length: 10 }, () => hang(never))
  await assert.rejects(hang(deadline(50)), { code: 'TIMED_OUT' })
  assert.equal(begun, 4)
  // Others are not held up.
  assert.equal(await patiently('elsewhere', never, () => Promise.resolve('answer')), 'answer')
  while (begun < 10) {
    for (const end of ends.splice(0)) end()
    await sleep(1)
  }
  for (const end of ends.splice(0)) end()
  await Promise.all(all)
})
