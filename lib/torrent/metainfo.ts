import { createHash } from 'node:crypto'
import { AnnexfsError } from '../errors.js'
import type { Bytes, Milliseconds, PieceSpace, SpaceId } from '../space/space.js'
import { checkBencode, integerAt, isDictionary, pick, stringAt, type Span } from './bencode-spans.js'
import { refuseDisagreement } from './metainfo-hybrid.js'
import { parseFiles } from './metainfo-files.js'
import type { Magnet } from './magnet.js'
import { parseNodes, parseTrackers, parseWebSeeds, wrapInfo } from './metainfo-sources.js'
import { safeName } from './safe-name.js'
import type { Metainfo } from './torrent.js'

export type { Metainfo, Torrent, TorrentFile, TorrentNode } from './torrent.js'

/** Three times what libtorrent loads by default; 200 GB in 128 KiB pieces fit. */
export const LARGEST_METAINFO: Bytes = 32 * 1024 * 1024
/** As libtorrent has it. */
const MOST_PIECES = 2_097_152
const SMALLEST_PIECE: Bytes = 1024
const LARGEST_PIECE: Bytes = 128 * 1024 * 1024
const DIGEST = 20
/** Enough for 32 MiB of the smallest values to be walked in well under a second. */
const MOST_VALUES = 8_000_000
/** The last moment that a Date can hold. */
const LAST_DATE: Milliseconds = 8.64e15

const ROOT_KEYS = new Set(['info', 'announce', 'announce-list', 'url-list', 'nodes', 'creation date'])
const INFO_KEYS = new Set([
  'name',
  'name.utf-8',
  'piece length',
  'pieces',
  'length',
  'files',
  'attr',
  'private',
  'meta version',
  'file tree',
])

/**
 * Reads a `.torrent` file (BEP 3, 5, 12, 19, 27, 47; the v1 half of BEP 52 hybrids), trusting none of it. Keys may be
 * unsorted and integers non-canonical, as clients take them: the infohash is over the raw bytes of `info`.
 * @throws AnnexfsError INVALID saying why; UNSUPPORTED for a torrent that is only v2 (BEP 52).
 */
export function parseMetainfo(bytes: Buffer): Metainfo {
  if (bytes.length > LARGEST_METAINFO) {
    throw invalid(`its ${bytes.length} bytes are more than the ${LARGEST_METAINFO} that are read`)
  }
  if (bytes[0] !== 0x64) throw invalid('it does not begin with a dictionary')
  checkBencode(bytes, 0, bytes.length, { values: MOST_VALUES, integers: 'any' })
  const root = pick(bytes, 0, ROOT_KEYS)
  const info = root.get('info')
  if (info === undefined || !isDictionary(bytes, info)) throw invalid('it has no info dictionary')
  const parsed = parseInfo(bytes, info)
  const createdAt = integerAt(bytes, root.get('creation date'))
  const metainfo: Metainfo = {
    ...parsed,
    trackers: parseTrackers(bytes, root.get('announce'), root.get('announce-list')),
    webSeeds: parseWebSeeds(bytes, root.get('url-list')),
    nodes: parseNodes(bytes, root.get('nodes')),
    peers: [],
    ...(createdAt !== undefined && createdAt > 0 && createdAt * 1000 <= LAST_DATE && { createdAt: createdAt * 1000 }),
    raw: bytes,
    load: () => Promise.resolve(metainfo),
  }
  return metainfo
}

/**
 * The torrent of a magnet link from its raw info dictionary (BEP 9), with the magnet's trackers, web seeds and peers.
 * @throws AnnexfsError CORRUPT when it is not the dictionary that the magnet names; else as {@link parseMetainfo}.
 */
export function metainfoFromInfo(infoBytes: Buffer, magnet: Magnet): Metainfo {
  const infohash = createHash('sha1').update(infoBytes).digest('hex')
  if (infohash !== magnet.infohash) {
    throw new AnnexfsError('CORRUPT', `the metadata that came for magnet ${magnet.infohash} is that of ${infohash}`)
  }
  const trackers = magnet.trackers.map((url) => [url])
  return withSources(parseMetainfo(wrapInfo(infoBytes, { trackers, webSeeds: magnet.webSeeds })), magnet)
}

/** `metainfo` with the trackers, web seeds and peers of `other` after its own. */
export function withSources(
  metainfo: Metainfo,
  other: Pick<Magnet, 'trackers' | 'webSeeds' | 'peers'> | Pick<Metainfo, 'trackers' | 'webSeeds' | 'peers'>,
): Metainfo {
  const known = new Set(metainfo.trackers.flat())
  const tiers = other.trackers
    .map((tier) => (typeof tier === 'string' ? [tier] : tier).filter((url) => !known.has(url)))
    .filter((tier) => tier.length > 0)
  const merged: Metainfo = {
    ...metainfo,
    trackers: [...metainfo.trackers, ...tiers],
    webSeeds: [...new Set([...metainfo.webSeeds, ...other.webSeeds])],
    peers: [...new Set([...metainfo.peers, ...other.peers])],
    load: () => Promise.resolve(merged),
  }
  return merged
}

type FromInfo = Pick<
  Metainfo,
  'infohash' | 'spaceId' | 'name' | 'length' | 'multiFile' | 'private' | 'space' | 'files' | 'infoBytes'
>

function parseInfo(bytes: Buffer, span: Span): FromInfo {
  const infoBytes = bytes.subarray(span.start, span.end)
  const infohash = createHash('sha1').update(infoBytes).digest('hex')
  const info = pick(bytes, span.start, INFO_KEYS)
  refuseVersion(bytes, info)

  const pieceLength = integerAt(bytes, info.get('piece length'))
  if (pieceLength === undefined || pieceLength < SMALLEST_PIECE || pieceLength > LARGEST_PIECE) {
    throw invalid(`its piece length is ${pieceLength ?? 'missing'}, not between 1 KiB and 128 MiB`)
  }
  const rawName = stringAt(bytes, info.get('name.utf-8')) ?? stringAt(bytes, info.get('name'))
  if (rawName === undefined) throw invalid('it has no name')
  const displayName = safeName(rawName)
  const name = displayName === '' ? infohash : displayName

  const { files, length } = parseFiles(bytes, info, rawName, name)
  const pieces = stringAt(bytes, info.get('pieces')) ?? Buffer.alloc(0)
  refusePieceCount(pieces.length, length, pieceLength)
  const tree = info.get('file tree')
  if (tree !== undefined) refuseDisagreement(bytes, tree, files, pieceLength)

  const spaceId = `btih:${infohash}` as SpaceId
  const hashes = {
    algorithm: 'sha1' as const,
    at: (index: number): Uint8Array => pieces.subarray(index * DIGEST, (index + 1) * DIGEST),
  }
  const space: Metainfo['space'] = { id: spaceId, length, pieceLength, hashes } satisfies PieceSpace
  const multiFile = info.has('files')
  const isPrivate = (integerAt(bytes, info.get('private')) ?? 0) !== 0
  return { infohash, spaceId, name, length, multiFile, private: isPrivate, space, files, infoBytes }
}

function refuseVersion(bytes: Buffer, info: ReadonlyMap<string, Span>): void {
  const version = integerAt(bytes, info.get('meta version'))
  const tree = info.get('file tree')
  if (info.get('pieces') === undefined && (version === 2 || tree !== undefined)) {
    throw new AnnexfsError(
      'UNSUPPORTED',
      'this torrent is BitTorrent v2 only (BEP 52), which annexfs cannot read yet: use a v1 or hybrid torrent of it',
    )
  }
  if (version !== undefined && version > 2) {
    throw new AnnexfsError('UNSUPPORTED', `this torrent is of version ${version}, which annexfs does not know`)
  }
  if (version === 2 && tree === undefined) throw invalid('it says that it is a hybrid but has no v2 file tree')
}

function refusePieceCount(hashBytes: number, length: Bytes, pieceLength: Bytes): void {
  if (hashBytes % DIGEST !== 0) throw invalid(`its piece hashes have ${hashBytes} bytes, no multiple of ${DIGEST}`)
  const count = hashBytes / DIGEST
  if (count > MOST_PIECES) throw invalid(`it has ${count} pieces, more than ${MOST_PIECES}`)
  const expected = Math.ceil(length / pieceLength)
  if (count !== expected) {
    throw invalid(
      `it has hashes for ${count} pieces, but its ${length} bytes in pieces of ${pieceLength} are ${expected}`,
    )
  }
}

function invalid(why: string): AnnexfsError {
  return new AnnexfsError('INVALID', `this is not a usable torrent: ${why}`)
}
