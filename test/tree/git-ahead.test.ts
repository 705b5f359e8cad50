import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Folder } from '../../lib/tree/git-folder.js'
import { GitDir, GitLink, type GitNode, type Scope } from '../../lib/tree/git-node.js'
import { nextOfWalk } from '../../lib/tree/git-ahead.js'

const scope = {} as Scope

/** Names that end in `/` are folders. */
function folder(...names: string[]): Folder {
  const node = (name: string): GitNode => (name.endsWith('/') ? new GitDir(scope, '', name) : new GitLink(scope, 'x'))
  return new Map(names.map((name) => [name.replace(/\/$/, ''), node(name)]))
}

const root = folder('a/', 'b', 'c/', 'd/', 'e')

test('who walks a tree lists the first folder within, else the next one beside', () => {
  const cases: [string, string[], Folder, Folder | undefined, string[] | undefined, string[] | undefined][] = [
    ['the first of a walk', ['a'], folder('x', 'y'), root, [], ['c']],
    ['a folder within comes first', ['a'], folder('x', 'y/', 'z/'), root, [], ['a', 'y']],
    ['the next beside', ['c'], folder(), root, ['a'], ['d']],
    ['after what lay deeper', ['c'], folder(), root, ['a', 'y', 'deep'], ['d']],
    ['the last one', ['d'], folder(), root, ['c'], undefined],
    ['the root alone says nothing', [], root, undefined, undefined, undefined],
    ['somebody went elsewhere', ['x', 'y'], folder(), folder('y/', 'z/'), ['a'], undefined],
    ['nothing was listed before', ['a'], folder(), root, undefined, undefined],
  ]
  for (const [what, names, listed, parent, before, next] of cases) {
    assert.deepEqual(nextOfWalk(names, listed, parent, before), next, what)
  }
})
