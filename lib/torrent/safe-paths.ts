import { AnnexfsError } from '../errors.js'
import { safeName, withSuffix } from './safe-name.js'

/** Deeper than any collection that people make; the kernel's own limit on a path is 4096 bytes. */
const DEEPEST = 100
/** A folder costs memory and is named in a few bytes. */
const MOST_FOLDERS = 100_000
/** All components of all folders' paths together, for the same reason. */
const MOST_COMPONENTS = 1_000_000

/**
 * Gives the files of a torrent safe display paths that are distinct: no file is also a folder. Natural names win over
 * made ones, whatever their order; of several files with the same name the first keeps it and the others get ` (2)`,
 * ` (3)`… before the extension, as does a file whose name is also a folder's.
 */
export class SafePaths {
  /** Folder number by `parent number/name`; 0 is the top. */
  readonly #folders = new Map<string, number>()
  readonly #folderPaths: (readonly string[])[] = [[]]
  readonly #folderOf: number[] = []
  readonly #names: string[] = []
  #components = 0

  /**
   * Takes the next file's raw path. Empty components mean nothing and are left out.
   * @throws AnnexfsError INVALID when it is deeper than 100 folders or there are more than 100,000 folders.
   */
  add(raw: Iterable<Uint8Array>): void {
    let folder = 0
    let name = ''
    for (const component of raw) {
      const next = safeName(component)
      if (next === '') continue
      if (name !== '') folder = this.#enter(folder, name)
      name = next
    }
    this.#folderOf.push(folder)
    this.#names.push(name === '' ? '_' : name)
  }

  /** The display path of every file, in the order they came. */
  paths(): readonly (readonly string[])[] {
    const taken = new Set<string>()
    const natural = this.#names.map((name, index) => {
      const key = `${this.#folderOf[index]}/${name}`
      if (this.#folders.has(key) || taken.has(key)) return false
      taken.add(key)
      return true
    })
    const counters = new Map<string, number>()
    return this.#names.map((name, index) => {
      const folder = this.#folderOf[index] ?? 0
      const unique = natural[index] === true ? name : this.#rename(folder, name, taken, counters)
      return [...(this.#folderPaths[folder] ?? []), unique]
    })
  }

  #enter(parent: number, name: string): number {
    const key = `${parent}/${name}`
    const known = this.#folders.get(key)
    if (known !== undefined) return known
    const path = [...(this.#folderPaths[parent] ?? []), name]
    if (path.length > DEEPEST) {
      throw new AnnexfsError('INVALID', `the torrent has a file more than ${DEEPEST} folders deep`)
    }
    const number = this.#folderPaths.push(path) - 1
    this.#components += path.length
    if (number > MOST_FOLDERS || this.#components > MOST_COMPONENTS) {
      throw new AnnexfsError('INVALID', `the torrent has too many folders (${MOST_FOLDERS} at the most)`)
    }
    this.#folders.set(key, number)
    return number
  }

  #rename(folder: number, name: string, taken: Set<string>, counters: Map<string, number>): string {
    const key = `${folder}/${name}`
    for (let count = counters.get(key) ?? 2; ; count += 1) {
      const candidate = withSuffix(name, ` (${count})`)
      const candidateKey = `${folder}/${candidate}`
      if (taken.has(candidateKey) || this.#folders.has(candidateKey)) continue
      taken.add(candidateKey)
      counters.set(key, count + 1)
      return candidate
    }
  }
}
