import assert from 'node:assert/strict'
import { test } from 'node:test'
import { byUrgency, runBytes } from '../../lib/scheduler/choose.js'
import {
  afterFailure,
  afterFirstByte,
  afterSilence,
  afterSuccess,
  NEW_HEALTH,
  type Health,
} from '../../lib/scheduler/health.js'

const MIB = 1024 * 1024
const holding = { unit: 65_536, longest: 8 * MIB }

test('a waiting read goes before readahead, readahead before filling, then in file order', () => {
  const wanted = [
    { index: 1, urgency: 'fill' },
    { index: 9, urgency: 'read' },
    { index: 2, urgency: 'readahead' },
    { index: 7, urgency: 'read' },
  ] as const
  assert.deepEqual(
    wanted.toSorted(byUrgency).map((one) => one.index),
    [7, 9, 2, 1],
  )
})

test('requests grow with what a source delivers in a quarter of a second, within its limits', () => {
  assert.equal(runBytes(holding, NEW_HEALTH), MIB)
  assert.equal(runBytes(holding, afterSuccess(NEW_HEALTH, 400 * MIB, 1000)), 8 * MIB)
  assert.equal(runBytes(holding, afterSuccess(NEW_HEALTH, 100_000, 1000)), 65_536)
})

test('requests are shorter where several sources share the work', () => {
  const health = afterSuccess(NEW_HEALTH, 8 * MIB, 1000)
  assert.equal(runBytes(holding, health, false), runBytes(holding, health, true) / 2)
})

test('failures make a source rest ever longer, a success ends that', () => {
  let health: Health = NEW_HEALTH
  const rests: number[] = []
  for (let i = 0; i < 9; i++) {
    health = afterFailure(health, 0)
    rests.push(health.restsUntil)
  }
  assert.deepEqual(rests, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  assert.equal(afterSuccess(health, 1, 1).restsUntil, 0)
})

test('a rate follows what a source does within half a second', () => {
  let health = afterSuccess(NEW_HEALTH, 8 * MIB, 1000)
  for (let i = 0; i < 8; i++) health = afterSuccess(health, 100_000, 60)
  assert.ok((health.rate ?? 0) < 2.5 * MIB, String(health.rate))
})

test('a request given up without an answer makes a known place slower, and an unknown one no better known', () => {
  assert.equal(afterSilence(NEW_HEALTH, 500).latency, undefined)
  const known = afterFirstByte(NEW_HEALTH, 10)
  assert.ok((afterSilence(known, 500).latency ?? 0) > 100)
  assert.equal(afterSilence(known, 5), known)
})
