import type { Folder } from './git-folder.js'
import { GitDir } from './git-node.js'

/** In larger folders finding the next one would take longer than it saves. */
const LARGEST_PARENT = 10_000

/**
 * The folder that a program which walks the tree (`ls -R`, `find`) will list next: the first one within the folder that
 * it lists now, else the one after it. Reading that one takes git as long as the program takes with this one.
 * @param listed the folder that is listed now, whose path is `names`.
 * @param parent the folder that it lies in.
 * @param before the path that was listed before it.
 * @returns a path, or undefined when nobody seems to be walking.
 */
export function nextOfWalk(
  names: readonly string[],
  listed: Folder,
  parent: Folder | undefined,
  before: readonly string[] | undefined,
): readonly string[] | undefined {
  const last = names.at(-1)
  const above = names.slice(0, -1)
  if (last === undefined || before === undefined || !above.every((name, index) => before[index] === name)) {
    return undefined
  }
  const inner = listed.size > LARGEST_PARENT ? undefined : firstFolder(listed.entries())
  if (inner !== undefined) return [...names, inner]
  if (parent === undefined || parent.size > LARGEST_PARENT) return undefined
  const following = parent.entries()
  for (const [name] of following) {
    if (name !== last) continue
    const next = firstFolder(following)
    return next === undefined ? undefined : [...above, next]
  }
  return undefined
}

function firstFolder(entries: Iterable<readonly [string, unknown]>): string | undefined {
  for (const [name, node] of entries) {
    if (node instanceof GitDir) return name
  }
  return undefined
}
