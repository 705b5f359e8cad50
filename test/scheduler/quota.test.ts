import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { fetchBudget } from '../../lib/scheduler/budget.js'
import { Fetcher } from '../../lib/scheduler/fetcher.js'
import { Quota, spentAt } from '../../lib/scheduler/quota.js'
import { silentLog } from '../../lib/log/log.js'
import { bytesOf, memoryCache, memorySource, spaceOf } from '../support/memory.js'

const never = new AbortController().signal
const isOver = (error: unknown): boolean => isAnnexfsError(error, 'OVER_BUDGET')

test('a budget with a rate comes back evenly', () => {
  const spec = { bytes: 600, per: 60_000 }
  const table: [number, number][] = [
    [0, 500],
    [6_000, 440],
    [50_000, 0],
    [1e9, 0],
  ]
  for (const [now, left] of table) assert.equal(spentAt(spec, { bytes: 500, at: 0 }, now), left)
  assert.equal(spentAt({ bytes: 600 }, { bytes: 500, at: 0 }, 1e9), 500, 'one without a rate never does')
})

test('readahead stops at nine tenths, reads at the budget, and both go on when it has come back', () => {
  let now = 0
  const quota = new Quota({ bytes: 1000, per: 1000 }, () => now)
  quota.spend(850)
  assert.throws(() => quota.promise(100, 'readahead'), isOver)
  const done = quota.promise(100, 'read')
  assert.equal(quota.left, 50)
  assert.throws(() => quota.promise(100, 'read'), isOver, 'what is promised counts')
  done()
  done()
  assert.equal(quota.left, 150, 'once')
  quota.spend(150)
  assert.throws(
    () => quota.promise(1, 'read'),
    (error) => {
      assert.ok(isAnnexfsError(error, 'OVER_BUDGET'))
      assert.match(error.message, /1 more bytes may be fetched in 1 s/)
      assert.equal(error.retryAfter, 1)
      return true
    },
  )
  now = 500
  assert.equal(quota.left, 500)
  quota.promise(400, 'readahead')()
})

test('a piece that is larger than the whole budget is refused with what to do', () => {
  const quota = new Quota({ bytes: 1000, per: 1000 })
  assert.throws(() => quota.promise(2000, 'read'), /larger --budget/)
})

test('a fetcher never fetches more than the budget, and pieces that are on their way are shared', async () => {
  const bytes = bytesOf(100_000, 1)
  const space = spaceOf(bytes, 1000)
  const source = memorySource(bytes)
  const quota = new Quota({ bytes: 20_500 })
  const fetcher: Fetcher = new Fetcher({
    space,
    sources: async () => ({ sources: [source], unusable: [] }),
    cache: memoryCache(space),
    budget: fetchBudget(1e9),
    quota,
    log: silentLog,
  })
  const results = await Promise.allSettled(
    Array.from({ length: 100 }, (_, index) => fetcher.fetch(index, { urgency: 'read', signal: never })),
  )
  const right = results.filter((one) => one.status === 'fulfilled').length
  assert.equal(right, 20)
  for (const one of results) assert.ok(one.status === 'fulfilled' || isOver(one.reason))
  const asked = source.asked.ranges.reduce((sum, { start, end }) => sum + end - start, 0)
  assert.equal(asked, 20_000)
  const left = quota.left
  await assert.rejects(fetcher.fetch(99, { urgency: 'read', signal: never }), isOver)
  assert.equal(left, 500)
  fetcher.close()
})

test('what was on its way when nobody wanted it any more is charged, by what lines hold', async () => {
  const bytes = bytesOf(4_000_000, 2)
  const space = spaceOf(bytes, 1_000_000)
  const source = memorySource(bytes, { before: () => new Promise((done) => setTimeout(done, 5)) })
  const quota = new Quota({ bytes: 3_000_000 })
  const sources = async (): Promise<{ sources: (typeof source)[]; unusable: [] }> => ({
    sources: [source],
    unusable: [],
  })
  const fetcher = new Fetcher({
    space,
    sources,
    cache: memoryCache(space),
    budget: fetchBudget(1e9),
    quota,
    log: silentLog,
  })
  const leaves = new AbortController()
  const waiting = fetcher.fetch(0, { urgency: 'read', signal: leaves.signal })
  assert.equal(quota.left, 2_000_000)
  setTimeout(() => leaves.abort(), 30)
  await assert.rejects(waiting)
  await fetcher.idle()
  const spent = 3_000_000 - quota.left
  assert.ok(spent > 256 * 1024 && spent < 700_000, `${spent}`)
  fetcher.close()
})

test('a source that gives whole content only is charged for all of it, once', async () => {
  const bytes = bytesOf(100_000, 3)
  const space = spaceOf(bytes, 10_000)
  const inner = memorySource(bytes)
  const source = {
    ...inner,
    find: async () => {
      const holding = await inner.find(space, never)
      return holding === undefined ? undefined : { ...holding, whole: true }
    },
  }
  const quota = new Quota({ bytes: 150_000 })
  const sources = async (): Promise<{ sources: (typeof source)[]; unusable: [] }> => ({
    sources: [source],
    unusable: [],
  })
  const fetcher = new Fetcher({
    space,
    sources,
    cache: memoryCache(space),
    budget: fetchBudget(1e9),
    quota,
    log: silentLog,
  })
  await fetcher.fetch(0, { urgency: 'read', signal: never })
  await fetcher.fetch(5, { urgency: 'read', signal: never })
  assert.equal(quota.left, 50_000)
  fetcher.close()
})
