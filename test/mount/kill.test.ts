import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { killAgainAndAgain } from './kill.js'

test('goal 10: killed at 8 random instants and started again: no wrong byte', { timeout: 180_000 }, async (t) => {
  await killAgainAndAgain(t, 8, randomInt(2 ** 31))
})
