import { AnnexfsError } from '../errors.js'
import type { Bytes } from '../space/space.js'
import {
  integerAt,
  isDictionary,
  isList,
  isString,
  items,
  payload,
  skip,
  stringAt,
  type Span,
} from './bencode-spans.js'
import { linkTargets } from './metainfo-links.js'
import { safeNameAt } from './safe-name.js'
import { SafePaths } from './safe-paths.js'
import type { TorrentFile } from './torrent.js'

/** About what fits in the 10 MB of metainfo that libtorrent loads by default; keeps a hostile list within 1 s and 100 MiB. */
export const MOST_FILES = 100_000

/**
 * The files that an info dictionary lists (BEP 3, BEP 47), in order, and their length together.
 * @throws AnnexfsError INVALID
 */
export function parseFiles(
  bytes: Buffer,
  info: ReadonlyMap<string, Span>,
  rawName: Buffer,
  name: string,
): { files: readonly TorrentFile[]; length: Bytes } {
  const list = info.get('files')
  if (list === undefined) {
    const length = integerAt(bytes, info.get('length'))
    if (length === undefined || length < 0) throw invalid('it has neither a list of files nor a length')
    const executable = stringAt(bytes, info.get('attr'))?.includes('x') === true
    const single = { index: 0, path: [name], rawPath: [rawName], offset: 0, length, padding: false, executable }
    return { files: [{ ...single, hidden: false }], length }
  }
  if (!isList(bytes, list)) throw invalid('its list of files is no list')
  const files = readList(bytes, list)
  const last = files.at(-1)
  if (last === undefined) throw invalid('its list of files is empty')
  nameFiles(bytes, files)
  return { files, length: last.offset + last.length }
}

/** A file of a list. What is seldom asked for is read from the metainfo then: there may be very many files. */
class ListedFile implements TorrentFile {
  readonly #bytes: Buffer
  readonly #pathAt: number
  /** Where its link's target stands; 0 for what is no link. */
  readonly targetAt: number
  path: readonly string[] = []
  readonly index: number
  readonly offset: Bytes
  readonly length: Bytes
  readonly padding: boolean
  readonly executable: boolean
  link?: string
  hidden: boolean

  constructor(bytes: Buffer, index: number, offset: Bytes, found: FoundKeys) {
    const attr = found.attr
    this.#bytes = bytes
    this.#pathAt = found.path
    this.index = index
    this.offset = offset
    this.length = found.length
    this.padding = attr.includes('p') || isPadding(bytes, found.path)
    this.executable = attr.includes('x')
    this.hidden = this.padding
    // A link without a target leads nowhere: its path, which is a list of names as well, is not its own target.
    this.targetAt = attr.includes('l') && !this.padding ? found.target || found.path : 0
  }

  get rawPath(): readonly Buffer[] {
    return components(this.#bytes, this.#pathAt)
  }

  safePath(): string[] {
    return safeComponents(this.#bytes, this.#pathAt)
  }
}

function readList(bytes: Buffer, list: Span): ListedFile[] {
  const files: ListedFile[] = []
  let offset = 0
  let at = list.start + 1
  while (bytes[at] !== LIST_END) {
    if (files.length >= MOST_FILES) throw invalid(`it has more than ${MOST_FILES} files`)
    if (!isDictionary(bytes, { start: at, end: at })) throw invalid(`file ${files.length} is no dictionary`)
    const found = readKeys(bytes, at, files.length)
    const file = new ListedFile(bytes, files.length, offset, found)
    files.push(file)
    offset += file.length
    if (!Number.isSafeInteger(offset)) throw invalid('its files together are beyond 2^53 bytes')
    at = found.end
  }
  return files
}

const LIST_END = 0x65
const KEYS = ['length', 'path', 'path.utf-8', 'attr', 'symlink path'] as const

interface FoundKeys {
  length: Bytes
  /** Where values stand; 0 is nowhere. */
  path: number
  target: number
  attr: string
  end: number
}

function readKeys(bytes: Buffer, start: number, index: number): FoundKeys {
  const found: FoundKeys = { length: -1, path: 0, target: 0, attr: '', end: 0 }
  let seen = 0
  let hasUtf8 = false
  let at = start + 1
  while (bytes[at] !== LIST_END) {
    const key = payload(bytes, at)
    const value = key.end
    const which = KEYS.findIndex((name) => spells(bytes, key, name))
    at = skip(bytes, value)
    if (which === -1) continue
    if ((seen & (1 << which)) !== 0) throw invalid(`file ${index} has the key “${KEYS[which]}” twice`)
    seen |= 1 << which
    if (which === 0) found.length = integerAt(bytes, { start: value, end: at }) ?? -1
    else if (which === 1 && !hasUtf8 && isPath(bytes, value)) found.path = value
    else if (which === 2 && isPath(bytes, value)) {
      found.path = value
      hasUtf8 = true
    } else if (which === 3) found.attr = stringAt(bytes, { start: value, end: at })?.toString('latin1', 0, 16) ?? ''
    else if (which === 4 && isPath(bytes, value)) found.target = value
  }
  if (found.length < 0) throw invalid(`the length of file ${index} is missing or negative`)
  if (found.path === 0) throw invalid(`file ${index} has no path`)
  found.end = at + 1
  return found
}

function spells(bytes: Buffer, key: Span, name: string): boolean {
  if (key.end - key.start !== name.length) return false
  for (let at = 0; at < name.length; at += 1) if (bytes[key.start + at] !== name.charCodeAt(at)) return false
  return true
}

function nameFiles(bytes: Buffer, files: readonly ListedFile[]): void {
  const safe = new SafePaths()
  let links = false
  for (const file of files) {
    if (file.padding) file.path = ['.pad', String(file.index)]
    else safe.add(file.safePath())
    if (file.targetAt !== 0) links = true
  }
  const paths = safe.paths()
  let shown = 0
  for (const file of files) if (!file.padding) file.path = paths[shown++] ?? []
  if (!links) return
  const targets = files.map((file) => (file.targetAt === 0 ? undefined : components(bytes, file.targetAt)))
  for (const [index, target] of linkTargets(files, targets)) {
    const file = files[index]
    if (file === undefined) continue
    if (target === undefined) file.hidden = true
    else file.link = target
  }
}

function components(bytes: Buffer, path: number): Buffer[] {
  return Array.from(items(bytes, path), (item) => {
    const { start, end } = payload(bytes, item.start)
    return bytes.subarray(start, end)
  })
}

function safeComponents(bytes: Buffer, path: number): string[] {
  const names: string[] = []
  let at = path + 1
  while (bytes[at] !== LIST_END) {
    const { start, end } = payload(bytes, at)
    names.push(safeNameAt(bytes, start, end))
    at = end
  }
  return names
}

/** Whether the value at `position` is a list of strings and not empty. */
function isPath(bytes: Buffer, position: number): boolean {
  if (bytes[position] !== 0x6c || bytes[position + 1] === LIST_END) return false
  let at = position + 1
  while (bytes[at] !== LIST_END) {
    if (!isString(bytes, { start: at, end: at })) return false
    at = payload(bytes, at).end
  }
  return true
}

/** Clients without BEP 47 put padding under `.pad` or name it so (BitComet). */
function isPadding(bytes: Buffer, path: number): boolean {
  const first = payload(bytes, path + 1)
  if (first.end - first.start === PAD.length && spells(bytes, first, PAD)) return bytes[first.end] !== LIST_END
  let last = first
  while (bytes[last.end] !== LIST_END) last = payload(bytes, last.end)
  return (
    last.end - last.start > BITCOMET_PAD.length &&
    spells(bytes, { start: last.start, end: last.start + BITCOMET_PAD.length }, BITCOMET_PAD)
  )
}

const PAD = '.pad'
const BITCOMET_PAD = '_____padding_file_'

function invalid(why: string): AnnexfsError {
  return new AnnexfsError('INVALID', `this is not a usable torrent: ${why}`)
}
