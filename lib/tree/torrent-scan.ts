import type { Stats } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { reasonOf, systemCode } from '../errors.js'
import { FolderState } from './torrent-entries.js'
import { each } from './torrent-gate.js'
import { SourceFile, isSettled, stampOf, type SourceFileContext } from './torrent-source-file.js'

/** Folders deeper than this are not looked into. */
export const DEEPEST_FOLDER = 32
/** Files that are looked at or read at once. */
const AT_ONCE = 8
/** Bounds memory whatever is put into the folder. */
const MOST_FILES = 200_000
const MOST_FOLDERS = 100_000

export interface ScanContext extends Omit<SourceFileContext, 'onKnown'> {
  readonly folder: string
  readonly signal: AbortSignal
}

/**
 * Brings what is known of a folder in line with the disk. Only one call may run at a time. Never throws for what it finds
 * there: what cannot be looked at is as good as not there, and is looked at again next time.
 */
export class TorrentScan {
  readonly root = new FolderState('', 0)
  readonly #context: ScanContext
  readonly #complained = new Set<string>()
  #files = 0
  #folders = 0
  /** True when something was too young to be sure of: look again. */
  unsettled = false

  constructor(context: ScanContext) {
    this.#context = context
  }

  /** Looks at everything below `folder`. */
  async all(folder: FolderState = this.root): Promise<void> {
    const children: FolderState[] = []
    for (const name of await this.#names(folder)) {
      const child = folder.folders.get(name)
      if (child !== undefined) children.push(child)
    }
    for (const child of children) await this.all(child)
  }

  /** Looks at some names in `folder` alone. */
  async some(folder: FolderState, names: ReadonlySet<string>): Promise<void> {
    const folders: string[] = []
    await each(names, AT_ONCE, async (name) => {
      if (isHidden(name)) return
      const stats = await this.#stat(folder, name)
      if (stats?.isDirectory() === true) folders.push(name)
      else this.#removeFolder(folder, name)
      if (isSource(name)) await this.#file(folder, name, stats)
    })
    // Whether it is a folder or a link to one, only the listing tells.
    if (folders.some((name) => !folder.folders.has(name))) await this.#names(folder)
    for (const name of folders) {
      const child = folder.folders.get(name)
      if (child !== undefined) await this.all(child)
    }
  }

  /** Forgets everything. */
  close(): void {
    for (const name of this.root.folders.keys()) this.#removeFolder(this.root, name)
    for (const name of this.root.files.keys()) this.#removeFile(this.root, name)
  }

  /** Looks at the folder's own names; gives those of its sub-folders. */
  async #names(folder: FolderState): Promise<string[]> {
    if (this.#context.signal.aborted) return []
    let entries
    try {
      folder.mtime = (await stat(this.#path(folder, ''))).mtimeMs
      entries = await readdir(this.#path(folder, ''), { withFileTypes: true, encoding: 'buffer' })
    } catch (error) {
      // A folder that has gone is empty; one that cannot be read keeps what it showed last.
      if (!['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) {
        this.#complain(folder.path, reasonOf(error))
        return []
      }
      entries = [] as never[]
    }
    const folders = new Set<string>()
    const files = new Set<string>()
    for (const entry of entries) {
      const name = entry.name.toString('latin1')
      if (isHidden(name)) continue
      if (entry.isDirectory()) folders.add(name)
      else if (isSource(name) && (entry.isFile() || entry.isSymbolicLink())) files.add(name)
    }
    for (const name of folder.folders.keys()) if (!folders.has(name)) this.#removeFolder(folder, name)
    for (const name of folder.files.keys()) if (!files.has(name)) this.#removeFile(folder, name)
    for (const name of folders) this.#addFolder(folder, name)
    await each(files, AT_ONCE, async (name) => this.#file(folder, name, await this.#stat(folder, name)))
    return [...folders]
  }

  async #file(folder: FolderState, name: string, stats: Stats | undefined): Promise<void> {
    if (stats?.isFile() !== true) {
      this.#removeFile(folder, name)
      return
    }
    const before = folder.files.get(name)
    if (before?.stamp === stampOf(stats) && (before.settled || !isSettled(stats))) {
      if (!before.settled) this.unsettled = true
      return
    }
    if (this.#context.signal.aborted) return
    if (before === undefined && this.#files >= MOST_FILES) {
      this.#complain('', `it has more than ${MOST_FILES} files of torrents and magnets: the others are left out`)
      return
    }
    const onKnown = (): void => folder.changed()
    const read = await SourceFile.read(this.#path(folder, name), stats, before, { ...this.#context, onKnown })
    if (!read.settled) this.unsettled = true
    if (read === before) return
    before?.close()
    if (before === undefined) this.#files += 1
    folder.files.set(name, read)
    folder.changed()
  }

  #addFolder(folder: FolderState, name: string): void {
    if (folder.folders.has(name)) return
    if (folder.depth >= DEEPEST_FOLDER || this.#folders >= MOST_FOLDERS) {
      this.#complain(folder.path, 'it has too many folders or they are too deep: the others are left out')
      return
    }
    this.#folders += 1
    folder.folders.set(name, new FolderState(folder.path === '' ? name : `${folder.path}/${name}`, folder.depth + 1))
    folder.changed()
  }

  #removeFile(folder: FolderState, name: string): void {
    const file = folder.files.get(name)
    if (file === undefined) return
    file.close()
    this.#files -= 1
    folder.files.delete(name)
    folder.changed()
  }

  #removeFolder(folder: FolderState, name: string): void {
    const child = folder.folders.get(name)
    if (child === undefined) return
    for (const below of child.folders.keys()) this.#removeFolder(child, below)
    for (const file of child.files.keys()) this.#removeFile(child, file)
    this.#folders -= 1
    folder.folders.delete(name)
    folder.changed()
  }

  async #stat(folder: FolderState, name: string): Promise<Stats | undefined> {
    try {
      return await stat(this.#path(folder, name))
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR', 'ELOOP'].includes(systemCode(error) ?? '')) {
        this.#complain(`${folder.path}/${name}`, reasonOf(error))
      }
      return undefined
    }
  }

  #path(folder: FolderState, name: string): Buffer {
    const below = [folder.path, name].filter((part) => part !== '').join('/')
    return Buffer.concat([Buffer.from(`${this.#context.folder}/`), Buffer.from(below, 'latin1')])
  }

  /** Once for each place and reason. */
  #complain(path: string, reason: string): void {
    const key = `${path}: ${reason}`
    if (this.#complained.has(key)) return
    if (this.#complained.size >= 1000) this.#complained.clear()
    this.#complained.add(key)
    const shown = Buffer.from(path, 'latin1').toString()
    this.#context.log.warn('part of the torrent folder cannot be shown', { path: shown, reason })
  }
}

export function isHidden(name: string): boolean {
  return name.startsWith('.')
}

function isSource(name: string): boolean {
  return !isHidden(name) && /\.(?:torrent|magnet)$/i.test(name)
}
