import assert from 'node:assert/strict'
import { test } from 'node:test'
import { attemptText } from '../../lib/errors.js'
import { oneLine } from '../../lib/log/one-line.js'

test('what a program said becomes one line, of progress the end', () => {
  const rows: readonly (readonly [string, string])[] = [
    ['', ''],
    ['  fatal: no such remote \n', 'fatal: no such remote'],
    ['Permission denied (publickey).\r\nfatal: no access\r\n', 'Permission denied (publickey). fatal: no access'],
    [
      'Receiving objects:   1% (1/9)\rReceiving objects: 100% (9/9), done.\nerror: x',
      'Receiving objects: 100% (9/9), done. error: x',
    ],
    ['a  12%\r        \r\nfailed', 'a 12% failed'],
    ['  rsync failed --\n\n  run git annex again', 'rsync failed -- run git annex again'],
    ['\u001b[31mred\u001b[0m \u0007', '\\x1b[31mred\\x1b[0m \\x07'],
  ]
  for (const [said, expected] of rows) assert.equal(oneLine(said), expected)
})

test('a source whose reason begins with itself is named once', () => {
  const rows: readonly (readonly [string, string, string])[] = [
    ['dav (webdav)', 'refused', 'dav (webdav): refused'],
    ['dav (webdav)', 'dav (webdav): refused', 'dav (webdav): refused'],
    ['dav (webdav)', 'dav (webdav) gave 3 bytes of 5', 'dav (webdav) gave 3 bytes of 5'],
    ['pub (httpalso)', 'pub (httpalso http://h/): refused', 'pub (httpalso http://h/): refused'],
    ['pub (git)', 'pub (http://h/): refused', 'pub (http://h/): refused'],
    ['web (http://h/x)', 'web servers are down', 'web (http://h/x): web servers are down'],
    ['', 'nothing', 'nothing'],
  ]
  for (const [source, reason, expected] of rows) assert.equal(attemptText({ source, reason }), expected)
})
