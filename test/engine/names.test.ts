import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sourceKind } from '../../lib/engine/source-kind.js'
import { sourceNames } from '../../lib/engine/union-tree.js'

test('several SOURCEs are folders with distinct, safe names', () => {
  for (const [sources, names] of [
    [
      ['/a/films', '/b/films', '/c/films/'],
      ['films', 'films (2)', 'films (3)'],
    ],
    [
      ['https://example.com/x/data.git', 'user@host:data', 'ssh://host/data/.git'],
      ['data', 'data (2)', 'data (3)'],
    ],
    [['https://example.com/a.torrent?x=/b'], ['a']],
    [['magnet:?xt=urn:btih:00&dn=A%20film%2F..'], ['A film']],
    [['magnet:?xt=urn:btih:00'], ['magnet']],
    [['magnet:?dn=%zz'], ['%zz']],
    [['/', '.', '..'].slice(0, 1), ['source']],
  ] as const) {
    assert.deepEqual(sourceNames(sources), names)
  }
})

test('clone URLs, torrent URLs and magnets are told apart without looking at the disk', async () => {
  for (const [source, kind] of [
    ['https://example.com/repo', 'clone-url'],
    ['https://example.com/repo.git', 'clone-url'],
    ['HTTPS://example.com/film.torrent', 'torrent-url'],
    ['https://example.com/film.torrent?key=1', 'torrent-url'],
    ['ssh://host/path', 'clone-url'],
    ['file:///nowhere/at/all', 'clone-url'],
    ['git@host.example:repo.git', 'clone-url'],
    ['magnet:?xt=urn:btih:0123456789012345678901234567890123456789', 'magnet'],
  ] as const) {
    assert.equal((await sourceKind(source)).kind, kind, source)
  }
  await assert.rejects(sourceKind('ext::sh -c id'), { code: 'NOT_FOUND' })
  await assert.rejects(sourceKind('-oProxyCommand=id'), { code: 'NOT_FOUND' })
})
