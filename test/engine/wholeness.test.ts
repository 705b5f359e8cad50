import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { CachedSpace } from '../../lib/cache/store.js'
import { Wholeness } from '../../lib/engine/wholeness.js'
import { silentLog } from '../../lib/log/log.js'
import { fetchBudget } from '../../lib/scheduler/budget.js'
import { Fetcher } from '../../lib/scheduler/fetcher.js'
import { bytesOf, memoryCache, memorySource, spaceOf } from '../support/memory.js'

const LIMIT = { timeout: 180_000 }

/** Has content of eleven pieces brought into a cache that behaves in some way, and checked there. */
async function fillThrough(behaviour: (kept: CachedSpace) => Partial<CachedSpace>): Promise<void> {
  const bytes = bytesOf(10_500, 1)
  const space = spaceOf(bytes, 1000)
  const slice = { space, offset: 0, length: bytes.byteLength }
  const kept = memoryCache(space)
  let checked = false
  const cache: CachedSpace = {
    ...kept,
    ...behaviour(kept),
    summary: () => ({ ...kept.summary(), ...(checked && { assurance: 'whole' as const }) }),
    markWhole: async () => void (checked = true),
  }
  const fetcher = new Fetcher({
    space,
    sources: async () => ({ sources: [memorySource(bytes)], unusable: [] }),
    cache,
    budget: fetchBudget(1e9),
    log: silentLog,
  })
  const wholeness = new Wholeness({
    slice,
    cache,
    fetcher,
    check: async () => (kept.pieces.size === 11 ? 'match' : 'incomplete'),
    log: silentLog,
    cacheLimit: 1e9,
    generation: 0,
    onWrong: () => assert.fail('it is right'),
  })
  await wholeness.ensure(new AbortController().signal)
  assert.ok(wholeness.isWhole)
  wholeness.close()
  fetcher.close()
}

test('content is checked only when all of it has reached a cache that is slow to take it', LIMIT, async () => {
  await fillThrough((kept) => ({
    put: async (piece) => {
      await sleep(100)
      return kept.put(piece)
    },
  }))
})

test('pieces that a full cache has kept in memory only are brought again for the check', LIMIT, async () => {
  const refused = new Set<number>()
  await fillThrough((kept) => ({
    has: (index) => refused.has(index),
    put: async (piece) => {
      if (refused.has(piece.index)) return kept.put(piece)
      refused.add(piece.index)
      return false
    },
  }))
})
