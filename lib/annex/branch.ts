import { constants } from 'node:fs'
import { open, opendir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LRUCache } from 'lru-cache'
import { isAnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { GitRepository } from '../git/repository.js'
import { treeEntries } from '../git/tree-object.js'
import { rateLimited, type Log } from '../log/log.js'

/** Longest log that is read, in bytes: a million lines fit. */
const LONGEST_LOG = 128 * 1024 * 1024

/** Longest tree object of the branch that is read, and the longest of which all entries are kept, in bytes. */
const LONGEST_TREE = 256 * 1024 * 1024
const LONGEST_KEPT_TREE = 4 * 1024 * 1024

/** Entries of the branch's tree objects that are kept. */
const KEPT_ENTRIES = 100_000

/** Refs that are read at most; a repository that was cloned from thousands of others has that many. */
const MOST_REFS = 1000

/** Time after which refs are listed again even though none that is known has moved, in milliseconds. */
const LIST_REFS_EVERY = 30_000

/** A branch tip: the commit and its tree. */
interface Tip {
  readonly commit: string
  readonly tree: string
}

/**
 * The files of the git-annex branch, of every ref whose last component is `git-annex`, joined by the journals. A file is
 * found by walking tree objects by id (looking it up by name makes git parse the 4,097 entries of the root each time).
 *
 * State: `refs` and `tips` are replaced as a whole; readers take `tips` once.
 */
export class AnnexBranch {
  private readonly git: GitRepository
  private readonly log: Log
  private refs = new Map<string, string>()
  private tips: readonly Tip[] = []
  /** The journals that had files in them when they were last looked at. */
  private journals: readonly string[] = []
  private signature = ''
  private listedAt = 0
  private generation = 0
  private reducing: Promise<void> = Promise.resolve()
  private readonly trees = new LRUCache<string, ReadonlyMap<string, string>>({
    maxSize: KEPT_ENTRIES,
    sizeCalculation: (tree) => tree.size + 1,
  })

  private readonly reading = new Map<string, Promise<Map<string, string> | Buffer>>()

  private constructor(git: GitRepository, log: Log) {
    this.git = git
    this.log = rateLimited(log, 60_000)
  }

  static async open(git: GitRepository, log: Log): Promise<AnnexBranch> {
    const branch = new AnnexBranch(git, log)
    branch.signature = await branch.currentSignature()
    await branch.findJournals()
    await branch.load()
    return branch
  }

  /** True when there is neither a branch nor a journal: the repository knows nothing of git-annex. */
  get empty(): boolean {
    return this.tips.length === 0
  }

  /**
   * Everything that the branches and journals hold under `path` (bytes as latin1), one after the other; empty when
   * there is nothing.
   */
  async read(path: string): Promise<string> {
    const [committed, ...journals] = await Promise.all([
      Promise.all(this.tips.map((tip) => this.readTip(tip, path))),
      ...this.journals.map((folder) => this.readJournal(folder, path)),
    ])
    const parts = [...committed, ...journals].filter((text) => text !== '')
    return parts.length === 1
      ? (parts[0] ?? '')
      : parts.map((text) => (text.endsWith('\n') ? text : `${text}\n`)).join('')
  }

  /** Walks to where `path` lies, so that reading it soon takes less time. What is there is not read: it may be long. */
  async approach(path: string): Promise<void> {
    await Promise.all(this.tips.map((tip) => this.walk(tip.tree, path.split('/'))))
  }

  /** Looks, cheaply, whether a branch, a journal or the configuration has changed; if so reads the refs again. */
  async changed(): Promise<boolean> {
    const signature = await this.currentSignature()
    const names = [...this.refs.keys()]
    const infos = await this.git.objects.infos(names.map((name) => `${name}^{commit}`))
    const moved = infos.some((info, index) => info?.sha !== this.refs.get(names[index] ?? ''))
    const due = Date.now() - this.listedAt > LIST_REFS_EVERY || Date.now() < this.listedAt
    if (!moved && signature === this.signature && !due) return false
    const differs = moved || signature !== this.signature
    this.signature = signature
    await this.findJournals()
    return (await this.load()) || differs
  }

  /** Most repositories have none to speak of; then no key costs a look. */
  private async findJournals(): Promise<void> {
    const used: string[] = []
    for (const name of ['journal', 'journal-private']) {
      try {
        const folder = await opendir(join(this.git.commonDir, 'annex', name))
        if ((await folder.read()) !== null) used.push(name)
        await folder.close()
      } catch (error) {
        if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') continue
        this.log.warn('the journal of git-annex cannot be read and is left out', { reason: reasonOf(error) })
      }
    }
    this.journals = used
  }

  /** Waits for what goes on in the background. */
  async settle(): Promise<void> {
    await this.reducing
  }

  /** What changes when refs are made or packed, journals written, remotes configured. */
  private async currentSignature(): Promise<string> {
    const places = ['packed-refs', 'refs/heads', 'refs/remotes', 'config', 'annex/journal', 'annex/journal-private']
    const times = await Promise.all(
      places.map((place) =>
        stat(join(this.git.commonDir, place)).then(
          (status) => `${status.mtimeMs}/${status.size}`,
          // Most of these need not exist; that one appears is a change as well.
          () => '-',
        ),
      ),
    )
    return times.join(' ')
  }

  private async load(): Promise<boolean> {
    this.listedAt = Date.now()
    const refs = await this.listRefs()
    const same = refs.size === this.refs.size && [...refs].every(([name, sha]) => this.refs.get(name) === sha)
    if (same) return false
    const commits = [...new Set(refs.values())]
    const infos = await this.git.objects.infos(commits.map((commit) => `${commit}^{tree}`))
    this.refs = refs
    this.tips = commits.flatMap((commit, index) => {
      const tree = infos[index]
      return tree === undefined ? [] : [{ commit, tree: tree.sha }]
    })
    const generation = ++this.generation
    if (this.tips.length > 1) this.reducing = this.reduce(generation)
    return true
  }

  /** The tips by ref name: our own branch first. */
  private async listRefs(): Promise<Map<string, string>> {
    const listing = await this.git.run(
      [
        'for-each-ref',
        `--count=${MOST_REFS}`,
        '--format=%(objectname) %(refname)',
        'refs/heads/git-annex',
        'refs/**/git-annex',
      ],
      { maxOutput: 16 * 1024 * 1024, timeout: 30_000 },
    )
    const refs = new Map<string, string>()
    for (const line of listing.toString('utf8').split('\n')) {
      const match = /^([0-9a-f]{40,64}) (refs\/.*)$/.exec(line)
      if (match?.[1] !== undefined && match[2] !== undefined) refs.set(match[2], match[1])
    }
    const infos = await this.git.objects.infos([...refs.values()].map((sha) => `${sha}^{commit}`))
    const found = [...refs.keys()].map((name, index): [string, string | undefined] => [name, infos[index]?.sha])
    found.sort(([a], [b]) => Number(b === 'refs/heads/git-annex') - Number(a === 'refs/heads/git-annex'))
    return new Map(found.filter((entry): entry is [string, string] => entry[1] !== undefined))
  }

  /**
   * Leaves out tips that another tip has merged. Goes on in the background, because it walks history; until then those
   * tips are read too, which is slower but no less right.
   */
  private async reduce(generation: number): Promise<void> {
    const tips = this.tips
    try {
      const listing = await this.git.run(['merge-base', '--independent', ...tips.map((tip) => tip.commit)], {
        maxOutput: 1024 * 1024,
        timeout: 60_000,
      })
      const independent = new Set(listing.toString('latin1').split('\n'))
      const kept = tips.filter((tip) => independent.has(tip.commit))
      if (generation === this.generation && kept.length > 0) this.tips = kept
    } catch (error) {
      this.log.debug('cannot tell which git-annex branches are merged; all are read', { reason: reasonOf(error) })
    }
  }

  private async readTip(tip: Tip, path: string): Promise<string> {
    try {
      const sha = await this.walk(tip.tree, path.split('/'))
      if (sha === undefined) return ''
      const object = await this.git.objects.read(sha, LONGEST_LOG)
      return object?.type === 'blob' ? object.bytes.toString('latin1') : ''
    } catch (error) {
      if (isAnnexfsError(error, 'ABORTED')) throw error
      this.log.warn('a file of the git-annex branch cannot be read and is left out', {
        commit: tip.commit,
        file: path.slice(0, 200),
        reason: reasonOf(error),
      })
      return ''
    }
  }

  /** The id of what lies at `names` below a tree. */
  private async walk(tree: string, names: readonly string[]): Promise<string | undefined> {
    let sha: string | undefined = tree
    for (const name of names) {
      if (sha === undefined) break
      sha = await this.entry(sha, name)
    }
    return sha
  }

  /** The id of the entry `name` of a tree. */
  private async entry(tree: string, name: string): Promise<string | undefined> {
    const kept = this.trees.get(tree)
    if (kept !== undefined) return kept.get(name)
    // Of many who ask at once, one reads.
    let reading = this.reading.get(tree)
    if (reading === undefined) {
      reading = this.readTree(tree).finally(() => this.reading.delete(tree))
      this.reading.set(tree, reading)
    }
    const names = await reading
    return names instanceof Map ? names.get(name) : this.scan(names, tree, name)
  }

  /** The entries of a tree, or its bytes when it is too large to keep them. */
  private async readTree(tree: string): Promise<Map<string, string> | Buffer> {
    const object = await this.git.objects.read(tree, LONGEST_TREE)
    if (object?.type !== 'tree') return new Map()
    if (object.size > LONGEST_KEPT_TREE) return object.bytes
    const names = new Map<string, string>()
    // Of entries of the same name (git makes none) the first counts, as in a scan.
    for (const entry of treeEntries(object.bytes, tree.length / 2)) {
      if (!names.has(entry.name)) names.set(entry.name, entry.sha)
    }
    this.trees.set(tree, names)
    return names
  }

  private scan(bytes: Buffer, tree: string, name: string): string | undefined {
    for (const entry of treeEntries(bytes, tree.length / 2)) if (entry.name === name) return entry.sha
    return undefined
  }

  /** A journal file: the path with `_` doubled and `/` as `_`. A last line without its end was being written. */
  private async readJournal(folder: string, path: string): Promise<string> {
    const name = path.replace(/_/g, '__').replace(/\//g, '_')
    const file = Buffer.concat([
      Buffer.from(`${join(this.git.commonDir, 'annex', folder)}/`, 'utf8'),
      Buffer.from(name, 'latin1'),
    ])
    let handle
    try {
      handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      const status = await handle.stat()
      if (!status.isFile() || status.size > LONGEST_LOG) return ''
      const text = (await handle.readFile()).toString('latin1')
      return text.slice(0, text.lastIndexOf('\n') + 1)
    } catch (error) {
      const code = systemCode(error)
      if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'ENAMETOOLONG') {
        this.log.warn('a journal file cannot be read and is left out', {
          file: name.slice(0, 200),
          reason: reasonOf(error),
        })
      }
      return ''
    } finally {
      await handle?.close()
    }
  }
}
