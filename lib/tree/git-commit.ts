import { AnnexfsError } from '../errors.js'
import type { GitObjects } from '../git/objects.js'

export interface Commit {
  readonly sha: string
  /** The id of its tree. */
  readonly tree: string
  /** Committer time in milliseconds since the epoch, from 1970 to 9999. */
  readonly time: number
}

const LONGEST_COMMIT = 16 * 1024 * 1024
const LAST_TIME = 253_402_300_799_000

/**
 * The commit that `rev` names (tags are followed); for a rev that names a tree, that tree at the time 0. Undefined when
 * there is neither.
 * @throws AnnexfsError INVALID for a rev that cannot be one, SYSTEM.
 */
export async function findCommit(objects: GitObjects, rev: string): Promise<Commit | undefined> {
  const info = await objects.info(`${rev}^{commit}`)
  const tree = await objects.info(`${info?.sha ?? rev}^{tree}`)
  if (tree === undefined) return undefined
  if (info === undefined) return { sha: tree.sha, tree: tree.sha, time: 0 }
  const commit = await objects.read(info.sha, LONGEST_COMMIT)
  return { sha: info.sha, tree: tree.sha, time: committerTime(commit?.bytes) }
}

/** `committer NAME <MAIL> SECONDS ZONE` in the header of a commit; 0 when it makes no sense. */
function committerTime(bytes: Buffer | undefined): number {
  const text = bytes?.toString('latin1') ?? ''
  const end = text.indexOf('\n\n')
  const header = end < 0 ? text : text.slice(0, end)
  const line = header.split('\n').find((candidate) => candidate.startsWith('committer ')) ?? ''
  const time = Number(/> (\d{1,15}) [+-]\d+$/.exec(line)?.[1] ?? 0) * 1000
  return Math.min(time, LAST_TIME)
}

/** Refuses what git would take for something other than the name of a commit. @throws AnnexfsError INVALID. */
export function checkRef(ref: string): void {
  // `:path` is the index, `:/text` and `^{/text}` search all of history.
  // oxlint-disable-next-line no-control-regex -- no ref may hold them
  if (ref === '' || ref.length > 1024 || /^[-:]|\^\{\/|[\u0000-\u0020\u007f]/.test(ref)) {
    throw new AnnexfsError('INVALID', `${JSON.stringify(ref)} is not the name of a branch, tag or commit`)
  }
}
