import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { killAgainAndAgain } from '../mount/kill.js'

test('goal 10: killed at 200 random instants and started again: no wrong byte', { timeout: 1_800_000 }, async (t) => {
  await killAgainAndAgain(t, 200, randomInt(2 ** 31))
})
