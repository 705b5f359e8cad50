import { createHash } from 'node:crypto'
import { AnnexfsError } from '../errors.js'
import { escapeBytes, keyFile, parseKey, type Key } from '../annex/key.js'
import type { AnnexRepository } from '../annex/repository.js'
import type { BlobContent, KeyContent } from '../engine/content.js'
import type { GitRepository } from '../git/repository.js'
import type { DirNode, FileNode, LinkNode } from './tree.js'

/**
 * The nodes of git trees. There may be millions: each holds little, and what can be computed is.
 */
export type GitNode = GitDir | GitSubmodule | GitBlob | GitKey | GitLink

/** A repository within the mount: the mounted one, or a submodule. */
export class Scope {
  readonly git: GitRepository
  readonly annex: AnnexRepository
  /** Tells folders of one repository from those of another in caches. */
  readonly prefix: string
  /** Committer time of the commit that is shown, in milliseconds; moves with it. */
  mtime = 0

  constructor(git: GitRepository, annex: AnnexRepository, prefix: string) {
    this.git = git
    this.annex = annex
    this.prefix = prefix
  }
}

/** What all have in common. */
class InScope {
  readonly scope: Scope

  constructor(scope: Scope) {
    this.scope = scope
  }

  get mtime(): number {
    return this.scope.mtime
  }
}

class Folder extends InScope {
  /** The name as git has it (bytes as latin1). */
  readonly rawName: string

  constructor(scope: Scope, rawName: string) {
    super(scope)
    this.rawName = rawName
  }

  get kind(): 'dir' {
    return 'dir'
  }
}

export class GitDir extends Folder implements DirNode {
  readonly sha: string

  constructor(scope: Scope, sha: string, rawName: string) {
    super(scope, rawName)
    this.sha = sha
  }
}

/** A folder where another repository goes in, at a commit. */
export class GitSubmodule extends Folder implements DirNode {
  readonly commit: string

  constructor(scope: Scope, commit: string, rawName: string) {
    super(scope, rawName)
    this.commit = commit
  }
}

class File extends InScope {
  readonly size: number | undefined
  readonly executable: boolean

  constructor(scope: Scope, size: number | undefined, executable: boolean) {
    super(scope)
    this.size = size
    this.executable = executable
  }

  get kind(): 'file' {
    return 'file'
  }
}

/** A file kept in git itself. */
export class GitBlob extends File implements FileNode<BlobContent> {
  private readonly sha: string

  /** @param size undefined when git does not have the blob (a partial clone, a damaged repository). */
  constructor(scope: Scope, sha: string, size: number | undefined, executable: boolean) {
    super(scope, size, executable)
    this.sha = sha
  }

  get content(): BlobContent {
    const { sha, size } = this
    return {
      kind: 'blob',
      id: `blob:${sha}`,
      git: this.scope.git,
      sha,
      /** @throws AnnexfsError UNAVAILABLE when git does not have the blob: it must not pass for an empty file. */
      get size(): number {
        if (size !== undefined) return size
        throw new AnnexfsError(
          'UNAVAILABLE',
          `this file is kept in git, but the repository lacks its object ${sha}; fetch it with git`,
        )
      },
    }
  }
}

/** An annexed file. */
export class GitKey extends File implements FileNode<KeyContent> {
  private readonly raw: string

  constructor(scope: Scope, key: Key, executable: boolean) {
    super(scope, key.size, executable)
    this.raw = key.raw
  }

  get content(): KeyContent {
    const key = parseKey(this.raw)
    if (key === undefined) throw new AnnexfsError('INVALID', `${escapeBytes(this.raw)} is no git-annex key`)
    return { kind: 'key', id: keyContentId(key), annex: this.scope.annex, key }
  }
}

export class GitLink extends InScope implements LinkNode {
  readonly target: string

  constructor(scope: Scope, target: string) {
    super(scope)
    this.target = target
  }

  get kind(): 'link' {
    return 'link'
  }
}

/** Longest content id. */
const LONGEST_ID = 512

/** `key:` and the key's file name in printable ASCII; of very long keys the beginning and a hash of all. */
export function keyContentId(key: Key): string {
  const id = `key:${escapeBytes(keyFile(key))}`
  if (id.length <= LONGEST_ID) return id
  const digest = createHash('sha256').update(key.raw, 'latin1').digest('hex')
  return `${id.slice(0, LONGEST_ID - digest.length - 1)}~${digest}`
}
