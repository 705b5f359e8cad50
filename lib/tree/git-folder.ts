import { LONGEST_POINTER, linkKey, pointerKey, SHORTEST_POINTER } from '../annex/pointer.js'
import { AnnexfsError } from '../errors.js'
import type { ObjectInfo } from '../git/objects.js'
import { entryKind, treeEntries, type TreeEntry } from '../git/tree-object.js'
import type { Log } from '../log/log.js'
import { GitBlob, GitDir, GitKey, GitLink, GitSubmodule, type GitNode, type Scope } from './git-node.js'
import { displayNamesGently, displayTarget } from './names.js'

/** A folder: its nodes by the names that are shown. */
export type Folder = ReadonlyMap<string, GitNode>

/** Longest tree object that is read, in bytes: some six million entries. */
const LONGEST_TREE = 256 * 1024 * 1024

/** Longest target of a symbolic link that Linux takes. */
const LONGEST_TARGET = 4095

/** Entries handled between two turns of the event loop. */
const BATCH = 4096

/**
 * Reads the tree `sha`. Links and small regular files are looked at, many at a time, to tell annexed files from others.
 * What is malformed is left out or shown as it best can be, and logged: a hostile tree does not make it fail.
 * @throws AnnexfsError UNAVAILABLE when git does not have the tree, INVALID when it is too long, SYSTEM.
 */
export async function readFolder(scope: Scope, sha: string, log: Log): Promise<Folder> {
  const object = await scope.git.objects.read(sha, LONGEST_TREE)
  if (object === undefined) {
    throw new AnnexfsError(
      'UNAVAILABLE',
      `the repository lacks the tree object ${sha} of this folder; fetch it with git`,
    )
  }
  if (object.type !== 'tree') {
    log.warn('a folder is no tree in git and is shown empty', { object: sha, type: object.type })
    return new Map()
  }
  const entries = await gather(object.bytes, sha, log)
  const names = await displayNamesGently(
    entries.map((entry) => entry.name),
    (index) => entries[index]?.sha ?? '',
  )
  const folder = new Map<string, GitNode>()
  // What the next batch's objects are is asked while this batch is being read.
  let infos = look(scope, entries.slice(0, BATCH))
  for (let from = 0; from < entries.length; from += BATCH) {
    const batch = entries.slice(from, from + BATCH)
    const known = await infos
    infos = look(scope, entries.slice(from + BATCH, from + 2 * BATCH))
    // Awaited in the next round; should this one fail, nobody else will.
    infos.catch(() => undefined)
    const nodes = await makeNodes(scope, batch, known)
    for (const [index, node] of nodes.entries()) {
      const name = names[from + index]
      if (name !== undefined) folder.set(name, node)
    }
  }
  return folder
}

/** The entries that can be shown. */
async function gather(bytes: Buffer, sha: string, log: Log): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = []
  let unknown = 0
  let count = 0
  for (const entry of treeEntries(bytes, sha.length / 2)) {
    if (entryKind(entry.mode) === 'unknown') unknown++
    else entries.push(entry)
    if (++count % (2 * BATCH) === 0) await turn()
  }
  if (unknown > 0) log.warn('entries of unknown kind in a git tree are left out', { tree: sha, count: unknown })
  return entries
}

type Looked = ReadonlyMap<number, ObjectInfo>

/** Types and sizes of the objects of files and links, by index into `batch`. */
async function look(scope: Scope, batch: readonly TreeEntry[]): Promise<Looked> {
  const indexes: number[] = []
  for (const [index, entry] of batch.entries()) {
    const kind = entryKind(entry.mode)
    if (kind === 'file' || kind === 'link') indexes.push(index)
  }
  const infos = await scope.git.objects.infos(indexes.map((index) => batch[index]?.sha ?? ''))
  const looked = new Map<number, ObjectInfo>()
  for (const [position, info] of infos.entries()) {
    const index = indexes[position]
    if (info?.type === 'blob' && index !== undefined) looked.set(index, info)
  }
  return looked
}

async function makeNodes(scope: Scope, batch: readonly TreeEntry[], looked: Looked): Promise<GitNode[]> {
  const wanted = [...looked].filter(
    ([index, { size }]) =>
      size <= LONGEST_POINTER && (size >= SHORTEST_POINTER || entryKind(batch[index]?.mode ?? 0) === 'link'),
  )
  const objects = await scope.git.objects.readAll(wanted.map(([, info]) => info))
  const bytes = new Map(wanted.map(([index], position) => [index, objects[position]?.bytes]))
  return batch.map((entry, index) => makeNode(scope, entry, looked.get(index), bytes.get(index)))
}

function makeNode(scope: Scope, entry: TreeEntry, info: ObjectInfo | undefined, bytes: Buffer | undefined): GitNode {
  const executable = (entry.mode & 0o100) !== 0
  switch (entryKind(entry.mode)) {
    case 'dir':
      return new GitDir(scope, entry.sha, entry.name)
    case 'submodule':
      return new GitSubmodule(scope, entry.sha, entry.name)
    case 'link': {
      const key = bytes === undefined ? undefined : linkKey(bytes)
      if (key !== undefined) return new GitKey(scope, key, false)
      // A target that no link can have is shown as what it is in git: a blob.
      const fit = bytes !== undefined && bytes.length > 0 && bytes.length <= LONGEST_TARGET && !bytes.includes(0)
      return fit
        ? new GitLink(scope, displayTarget(bytes.toString('latin1')))
        : new GitBlob(scope, entry.sha, info?.size, false)
    }
    default: {
      const key = bytes === undefined ? undefined : pointerKey(bytes)
      return key === undefined
        ? new GitBlob(scope, entry.sha, info?.size, executable)
        : new GitKey(scope, key, executable)
    }
  }
}

export async function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
