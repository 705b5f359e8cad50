import { createHash } from 'node:crypto'
import { AnnexfsError, isAnnexfsError } from '../lib/errors.js'
import type { Bytes, Milliseconds } from '../lib/space/space.js'
import {
  checkBencode,
  entries,
  integerAt,
  isDictionary,
  pick,
  stringAt,
  type Span,
} from '../lib/torrent/bencode-spans.js'
import { MOST_FILES } from '../lib/torrent/metainfo-files.js'
import { parseMetainfo } from '../lib/torrent/metainfo.js'
import { parseNodes, parseTrackers, parseWebSeeds } from '../lib/torrent/metainfo-sources.js'
import { safeName } from '../lib/torrent/safe-name.js'
import { SafePaths } from '../lib/torrent/safe-paths.js'
import type { TorrentNode } from '../lib/torrent/torrent.js'

/** What a `.torrent` file says, for people and programs; names are safe to be shown once control characters are escaped. */
export interface TorrentFacts {
  readonly name: string
  /** Of BEP 3, of BEP 52, or of both at once. */
  readonly version: 'v1' | 'v2' | 'hybrid'
  readonly infohash?: string
  /** BEP 52: SHA-256. */
  readonly infohashV2?: string
  /** Of the files together, padding left out. */
  readonly length: Bytes
  /** With padding: the length of the piece space (version 1). */
  readonly paddedLength: Bytes
  readonly pieceLength: Bytes
  readonly pieces: number
  readonly private: boolean
  readonly files: readonly FactFile[]
  readonly trackers: readonly (readonly string[])[]
  readonly webSeeds: readonly string[]
  readonly nodes: readonly TorrentNode[]
  readonly createdAt?: Milliseconds
  readonly createdBy?: string
  readonly comment?: string
  readonly source?: string
  readonly encoding?: string
}

export interface FactFile {
  /** Below the torrent's own folder; of a single file its name. */
  readonly path: string
  readonly length: Bytes
  readonly executable?: boolean
  readonly link?: string
  /** BEP 52: root of the tree of hashes, hex. */
  readonly piecesRoot?: string
}

const ROOT_KEYS = new Set([
  'info',
  'announce',
  'announce-list',
  'url-list',
  'nodes',
  'creation date',
  'created by',
  'comment',
  'comment.utf-8',
  'encoding',
])
const INFO_KEYS = new Set(['name', 'name.utf-8', 'piece length', 'private', 'source', 'meta version', 'file tree'])
/** As lib/torrent/metainfo.ts has it. */
const MOST_VALUES = 8_000_000
const LONGEST_TEXT = 4096
const LAST_DATE: Milliseconds = 8.64e15

/**
 * Reads everything that a `.torrent` file says, of version 2 (BEP 52) too.
 * @throws AnnexfsError INVALID, UNSUPPORTED for what no client takes.
 */
export function torrentFacts(bytes: Buffer): TorrentFacts {
  try {
    const metainfo = parseMetainfo(bytes)
    const { root, info } = dictionaries(bytes)
    const hybrid = info.has('file tree')
    const shown = metainfo.files.filter((file) => !file.padding)
    const roots = hybrid ? treeFiles(bytes, info.get('file tree')).map((file) => file.root) : []
    return {
      name: metainfo.name,
      version: hybrid ? 'hybrid' : 'v1',
      infohash: metainfo.infohash,
      ...(hybrid && { infohashV2: sha256(metainfo.infoBytes) }),
      length: shown.reduce((sum, file) => sum + file.length, 0),
      paddedLength: metainfo.length,
      pieceLength: metainfo.space.pieceLength,
      pieces: Math.ceil(metainfo.length / metainfo.space.pieceLength),
      private: metainfo.private,
      files: shown.map((file, index) => ({
        path: file.path.join('/'),
        length: file.length,
        ...(file.executable && { executable: true }),
        ...(file.link !== undefined && { link: file.link }),
        ...(roots[index] !== undefined && { piecesRoot: roots[index] }),
      })),
      trackers: metainfo.trackers,
      webSeeds: metainfo.webSeeds,
      nodes: metainfo.nodes,
      ...(metainfo.createdAt !== undefined && { createdAt: metainfo.createdAt }),
      ...texts(bytes, root, info),
    }
  } catch (error) {
    if (isAnnexfsError(error, 'UNSUPPORTED')) return versionTwo(bytes, error)
    throw error
  }
}

/** The bencode was checked by {@link parseMetainfo}, which got as far as the version. */
function versionTwo(bytes: Buffer, refusal: AnnexfsError): TorrentFacts {
  const { root, info, span } = dictionaries(bytes)
  const tree = info.get('file tree')
  const pieceLength = integerAt(bytes, info.get('piece length'))
  if (integerAt(bytes, info.get('meta version')) !== 2 || tree === undefined) throw refusal
  if (pieceLength === undefined || pieceLength < 16_384 || !Number.isInteger(Math.log2(pieceLength))) {
    throw invalid(`its piece length is ${pieceLength ?? 'missing'}, no power of two from 16 KiB`)
  }
  const listed = treeFiles(bytes, tree)
  const safe = new SafePaths()
  for (const { path } of listed) safe.add(path.map((name) => safeName(Buffer.from(name, 'latin1'))))
  const paths = safe.paths()
  const name = safeName(stringAt(bytes, info.get('name.utf-8')) ?? stringAt(bytes, info.get('name')) ?? Buffer.alloc(0))
  const infohashV2 = sha256(bytes.subarray(span.start, span.end))
  const length = listed.reduce((sum, file) => sum + file.length, 0)
  const created = integerAt(bytes, root.get('creation date')) ?? 0
  return {
    name: name === '' ? infohashV2 : name,
    version: 'v2',
    infohashV2,
    length,
    paddedLength: length,
    pieceLength,
    pieces: listed.reduce((sum, file) => sum + Math.ceil(file.length / pieceLength), 0),
    private: (integerAt(bytes, info.get('private')) ?? 0) !== 0,
    files: listed.map((file, index) => ({
      path: (paths[index] ?? []).join('/'),
      length: file.length,
      ...(file.root !== undefined && { piecesRoot: file.root }),
    })),
    trackers: parseTrackers(bytes, root.get('announce'), root.get('announce-list')),
    webSeeds: parseWebSeeds(bytes, root.get('url-list')),
    nodes: parseNodes(bytes, root.get('nodes')),
    ...(created > 0 && created * 1000 <= LAST_DATE && { createdAt: created * 1000 }),
    ...texts(bytes, root, info),
  }
}

type Dictionary = ReadonlyMap<string, Span>

function dictionaries(bytes: Buffer): { root: Dictionary; info: Dictionary; span: Span } {
  checkBencode(bytes, 0, bytes.length, { values: MOST_VALUES, integers: 'any' })
  const root = pick(bytes, 0, ROOT_KEYS)
  const span = root.get('info')
  if (span === undefined || !isDictionary(bytes, span)) throw invalid('it has no info dictionary')
  return { root, info: pick(bytes, span.start, INFO_KEYS), span }
}

interface TreeFile {
  /** Bytes as latin1. */
  readonly path: readonly string[]
  readonly length: Bytes
  readonly root: string | undefined
}

const FILE_KEYS = new Set(['length', 'pieces root'])

/** The files of a `file tree`; its depth was bounded with the bencode. */
function treeFiles(bytes: Buffer, tree: Span | undefined): readonly TreeFile[] {
  const files: TreeFile[] = []
  const walk = (span: Span, above: readonly string[]): void => {
    for (const [key, value] of entries(bytes, span.start)) {
      if (!isDictionary(bytes, value)) throw invalid('its file tree is malformed')
      if (key !== '') {
        walk(value, [...above, key])
        continue
      }
      const file = pick(bytes, value.start, FILE_KEYS)
      const length = integerAt(bytes, file.get('length'))
      if (length === undefined || length < 0) throw invalid('a file of its tree has no length')
      if (files.length >= MOST_FILES) throw invalid(`it has more than ${MOST_FILES} files`)
      files.push({ path: above, length, root: stringAt(bytes, file.get('pieces root'))?.toString('hex', 0, 32) })
    }
  }
  if (tree === undefined || !isDictionary(bytes, tree)) throw invalid('its file tree is no dictionary')
  walk(tree, [])
  return files
}

function texts(
  bytes: Buffer,
  root: Dictionary,
  info: Dictionary,
): Pick<TorrentFacts, 'createdBy' | 'comment' | 'source' | 'encoding'> {
  const text = (span: Span | undefined): string | undefined =>
    stringAt(bytes, span)?.subarray(0, LONGEST_TEXT).toString('utf8')
  const found = {
    createdBy: text(root.get('created by')),
    comment: text(root.get('comment.utf-8') ?? root.get('comment')),
    source: text(info.get('source')),
    encoding: text(root.get('encoding')),
  }
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined && value !== ''))
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function invalid(why: string): AnnexfsError {
  return new AnnexfsError('INVALID', `this is not a usable torrent: ${why}`)
}
