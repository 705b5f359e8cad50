import { AnnexfsError } from '../errors.js'
import type { Bytes } from '../space/space.js'
import {
  integerAt,
  isDictionary,
  isList,
  isString,
  items,
  payload,
  pick,
  stringAt,
  type Span,
} from './bencode-spans.js'
import { linkTargets } from './metainfo-links.js'
import { SafePaths } from './safe-paths.js'
import type { TorrentFile } from './torrent.js'

/** More than fit in the 10 MB of metainfo that libtorrent loads; keeps a hostile list within 100 MiB of memory. */
export const MOST_FILES = 262_144

const FILE_KEYS = new Set(['length', 'path', 'path.utf-8', 'attr', 'symlink path'])

interface RawFile {
  readonly path: Span | undefined
  readonly length: Bytes
  readonly offset: Bytes
  readonly padding: boolean
  readonly executable: boolean
  readonly target: Span | undefined
}

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
    const executable = attributes(bytes, info.get('attr')).includes('x')
    const single = { index: 0, path: [name], rawPath: [rawName], offset: 0, length, padding: false, executable }
    return { files: [{ ...single, hidden: false }], length }
  }
  if (!isList(bytes, list)) throw invalid('its list of files is no list')
  const raw = readList(bytes, list)
  const last = raw.at(-1)
  if (last === undefined) throw invalid('its list of files is empty')
  return { files: nameFiles(bytes, raw), length: last.offset + last.length }
}

function readList(bytes: Buffer, list: Span): RawFile[] {
  const files: RawFile[] = []
  let offset = 0
  for (const item of items(bytes, list.start)) {
    if (files.length >= MOST_FILES) throw invalid(`it has more than ${MOST_FILES} files`)
    if (!isDictionary(bytes, item)) throw invalid(`file ${files.length} is no dictionary`)
    const file = readFile(bytes, pick(bytes, item.start, FILE_KEYS), files.length, offset)
    files.push(file)
    offset += file.length
    if (!Number.isSafeInteger(offset)) throw invalid('its files together are beyond 2^53 bytes')
  }
  return files
}

function readFile(bytes: Buffer, found: ReadonlyMap<string, Span>, index: number, offset: Bytes): RawFile {
  const length = integerAt(bytes, found.get('length'))
  if (length === undefined || length < 0) throw invalid(`the length of file ${index} is missing or negative`)
  const utf8 = found.get('path.utf-8')
  const path = isPath(bytes, utf8) ? utf8 : found.get('path')
  if (!isPath(bytes, path)) throw invalid(`file ${index} has no path`)
  const attr = attributes(bytes, found.get('attr'))
  const padding = attr.includes('p') || isPadding(bytes, path)
  const target = attr.includes('l') && !padding ? (found.get('symlink path') ?? { start: 0, end: 0 }) : undefined
  return { path, length, offset, padding, executable: attr.includes('x'), target }
}

function nameFiles(bytes: Buffer, raw: readonly RawFile[]): readonly TorrentFile[] {
  const safe = new SafePaths()
  for (const file of raw) if (!file.padding) safe.add(components(bytes, file.path))
  const paths = safe.paths()
  let shown = 0
  const files = raw.map((file, index) => {
    const path = file.padding ? ['.pad', String(index)] : (paths[shown++] ?? [])
    return new ListedFile(bytes, file.path, index, path, file)
  })
  if (raw.some((file) => file.target !== undefined)) {
    const targets = linkTargets(
      files,
      raw.map((file) => (file.target === undefined ? undefined : [...components(bytes, file.target)])),
    )
    for (const [index, target] of targets) {
      if (target === undefined) files[index]?.hide()
      else files[index]?.linkTo(target)
    }
  }
  return files
}

/** A file whose raw names are read from the metainfo when they are asked for: there may be very many files. */
class ListedFile implements TorrentFile {
  readonly #bytes: Buffer
  readonly #span: Span | undefined
  readonly index: number
  readonly path: readonly string[]
  readonly offset: Bytes
  readonly length: Bytes
  readonly padding: boolean
  readonly executable: boolean
  link?: string
  hidden: boolean

  constructor(bytes: Buffer, span: Span | undefined, index: number, path: readonly string[], raw: RawFile) {
    this.#bytes = bytes
    this.#span = span
    this.index = index
    this.path = path
    this.offset = raw.offset
    this.length = raw.length
    this.padding = raw.padding
    this.executable = raw.executable
    this.hidden = raw.padding
  }

  get rawPath(): readonly Buffer[] {
    return [...components(this.#bytes, this.#span)]
  }

  linkTo(target: string): void {
    this.link = target
  }

  hide(): void {
    this.hidden = true
  }
}

function* components(bytes: Buffer, path: Span | undefined): Generator<Buffer> {
  if (path === undefined || !isList(bytes, path)) return
  for (const item of items(bytes, path.start)) {
    if (!isString(bytes, item)) continue
    const { start, end } = payload(bytes, item.start)
    yield bytes.subarray(start, end)
  }
}

function isPath(bytes: Buffer, path: Span | undefined): boolean {
  if (path === undefined || !isList(bytes, path)) return false
  let count = 0
  for (const item of items(bytes, path.start)) {
    if (!isString(bytes, item)) return false
    count += 1
  }
  return count > 0
}

/** Clients without BEP 47 put padding under `.pad` or name it so (BitComet). */
function isPadding(bytes: Buffer, path: Span | undefined): boolean {
  let first: Buffer | undefined
  let last: Buffer | undefined
  for (const component of components(bytes, path)) {
    first ??= component
    last = component
  }
  if (first === undefined || last === undefined) return false
  return (first !== last && first.equals(PAD)) || last.subarray(0, BITCOMET_PAD.length).equals(BITCOMET_PAD)
}

const PAD = Buffer.from('.pad')
const BITCOMET_PAD = Buffer.from('_____padding_file_')

function attributes(bytes: Buffer, value: Span | undefined): string {
  return stringAt(bytes, value)?.toString('latin1', 0, 16) ?? ''
}

function invalid(why: string): AnnexfsError {
  return new AnnexfsError('INVALID', `this is not a usable torrent: ${why}`)
}
