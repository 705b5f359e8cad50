import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { patiently } from '../../lib/sources/patience.js'

const never = new AbortController().signal

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
    const stuck = patiently('dead', AbortSignal.timeout(1), () => new Promise<void>((resolve) => ends.push(resolve)))
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
