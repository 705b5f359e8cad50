import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { parseHosts, systemResolve } from '../../lib/net/resolve.js'

test('a hosts file gives the addresses of its names, whatever their case', () => {
  const names = parseHosts('127.0.0.1\tlocalhost Loop # no: other\n::1 localhost\n\n#10.0.0.1 no\n10.0.0.2 b\n10.0.0.2')
  assert.deepEqual(
    [...names],
    [
      ['localhost', ['127.0.0.1', '::1']],
      ['loop', ['127.0.0.1']],
      ['b', ['10.0.0.2']],
    ],
  )
})

test('localhost resolves, and names that cannot exist are an error that names them', { timeout: 180_000 }, async () => {
  assert.ok((await systemResolve('localhost')).includes('127.0.0.1'))
  await assert.rejects(systemResolve('a..b'), (error) => {
    return isAnnexfsError(error, 'UNAVAILABLE') && error.message.includes('a..b')
  })
})
