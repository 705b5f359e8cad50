import { AnnexfsError } from '../errors.js'
import { withSuffix } from './safe-name.js'

/** Deeper than any collection that people make; the kernel's own limit on a path is 4096 bytes. */
const DEEPEST = 100
/** A folder costs memory and is named in a few bytes. */
const MOST_FOLDERS = 65_536
/** All components of all folders' paths together, for the same reason. */
const MOST_COMPONENTS = 1_000_000

interface Folder {
  readonly path: readonly string[]
  folders?: Map<string, Folder>
  files?: Set<string>
  /** The next number to try for a name that is taken. */
  counters?: Map<string, number>
}

/**
 * Gives the files of a torrent display paths that are distinct: no file is also a folder. Natural names win over made
 * ones, whatever their order; of several files with the same name the first keeps it and the others get ` (2)`, ` (3)`…
 * before the extension, as does a file whose name is also a folder's.
 */
export class SafePaths {
  readonly #top: Folder = { path: [] }
  readonly #folderOf: Folder[] = []
  readonly #names: string[] = []
  #folders = 0
  #components = 0

  /**
   * Takes the next file's path, of names that are safe each by itself. Empty names mean nothing and are left out.
   * @throws AnnexfsError INVALID when it is deeper than 100 folders or there are more than 65,536 folders.
   */
  add(names: readonly string[]): void {
    let folder = this.#top
    let last = ''
    for (const name of names) {
      if (name === '') continue
      if (last !== '') folder = this.#enter(folder, last)
      last = name
    }
    this.#folderOf.push(folder)
    this.#names.push(last === '' ? '_' : last)
  }

  /** The display path of every file, in the order they came. */
  paths(): readonly (readonly string[])[] {
    const renamed = new Set<number>()
    for (const [index, name] of this.#names.entries()) {
      const folder = this.#folderOf[index] ?? this.#top
      if (isTaken(folder, name)) renamed.add(index)
      else take(folder, name)
    }
    return this.#names.map((name, index) => {
      const folder = this.#folderOf[index] ?? this.#top
      return [...folder.path, renamed.has(index) ? rename(folder, name) : name]
    })
  }

  #enter(parent: Folder, name: string): Folder {
    const known = parent.folders?.get(name)
    if (known !== undefined) return known
    const folder: Folder = { path: [...parent.path, name] }
    if (folder.path.length > DEEPEST) {
      throw new AnnexfsError('INVALID', `the torrent has a file more than ${DEEPEST} folders deep`)
    }
    this.#folders += 1
    this.#components += folder.path.length
    if (this.#folders > MOST_FOLDERS || this.#components > MOST_COMPONENTS) {
      throw new AnnexfsError('INVALID', `the torrent has too many folders (${MOST_FOLDERS} at the most)`)
    }
    parent.folders ??= new Map()
    parent.folders.set(name, folder)
    return folder
  }
}

function isTaken(folder: Folder, name: string): boolean {
  return folder.files?.has(name) === true || folder.folders?.has(name) === true
}

function take(folder: Folder, name: string): void {
  folder.files ??= new Set()
  folder.files.add(name)
}

function rename(folder: Folder, name: string): string {
  folder.counters ??= new Map()
  for (let count = folder.counters.get(name) ?? 2; ; count += 1) {
    const candidate = withSuffix(name, ` (${count})`)
    if (isTaken(folder, candidate)) continue
    take(folder, candidate)
    folder.counters.set(name, count + 1)
    return candidate
  }
}
