import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DESCRIPTOR_LIMIT, shareOfDescriptors } from '../../lib/space/descriptors.js'

test('what is kept open follows the limit of descriptors, within bounds', () => {
  assert.ok(DESCRIPTOR_LIMIT >= 256)
  assert.equal(shareOfDescriptors(1 / 8, 16, 256, 1_048_576), 256)
  assert.equal(shareOfDescriptors(1 / 8, 16, 256, 1024), 128)
  assert.equal(shareOfDescriptors(1 / 8, 16, 256, 64), 16)
})
