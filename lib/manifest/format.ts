import { AnnexfsError } from '../errors.js'
import type { Bytes } from '../space/space.js'
import { decodeBencode } from '../torrent/bencode.js'
import { parseMetainfo } from '../torrent/metainfo.js'
import type { Metainfo } from '../torrent/torrent.js'
import { manifestName, manifestPieceLength, type ManifestKey } from './rule.js'

/** Length of a SHA-1 digest. */
const DIGEST: Bytes = 20
/** What may stand beside the info dictionary: some URLs and a remark. */
const MOST_BESIDES: Bytes = 64 * 1024
const BESIDES = new Set(['announce', 'announce-list', 'comment', 'info', 'url-list'])
/** Values that these may have: an absurd number of URLs, and little memory. */
const MOST_VALUES = 10_000

/**
 * The manifest of `key` with the SHA-1 digests of its pieces, one after the other: canonical bencode (BEP 3), nothing
 * beside the info dictionary.
 * @throws TypeError when there are not as many digests as pieces.
 */
export function encodeManifest(key: ManifestKey, pieces: Uint8Array): Buffer {
  const before = infoBefore(key)
  if (pieces.byteLength !== hashBytes(key)) throw new TypeError(`${pieces.byteLength} bytes of digests do not fit`)
  return Buffer.concat([Buffer.from('d4:info'), before, pieces, Buffer.from('ee')])
}

/** The longest manifest that {@link parseManifest} takes for `key`, in bytes. */
export function longestManifest(key: ManifestKey): Bytes {
  return infoBefore(key).length + hashBytes(key) + MOST_BESIDES
}

/**
 * Reads the manifest of `key`, trusting none of it: its info dictionary must be byte for byte what the rule gives for
 * the key, apart from the digests.
 * @throws AnnexfsError INVALID saying what is wrong.
 */
export function parseManifest(key: ManifestKey, bytes: Buffer): Metainfo {
  if (bytes.length > longestManifest(key)) throw invalid(`it has ${bytes.length} bytes, too many for its key`)
  const root = decodeBencode(bytes, { values: MOST_VALUES, integers: 'canonical', keys: 'sorted' })
  if (root.kind !== 'dictionary') throw invalid('it is no dictionary')
  for (const name of root.entries.keys()) if (!BESIDES.has(name)) throw invalid(`it has a key that none may have`)
  const metainfo = parseMetainfo(bytes)
  const { infoBytes } = metainfo
  const before = infoBefore(key)
  if (infoBytes.length !== before.length + hashBytes(key) + 1 || !infoBytes.subarray(0, before.length).equals(before)) {
    throw invalid('its name, length or piece length is not what the rule gives for the key, or there is more in it')
  }
  return metainfo
}

function pieces(key: ManifestKey): number {
  return Math.ceil(key.size / manifestPieceLength(key.size))
}

function hashBytes(key: ManifestKey): Bytes {
  return pieces(key) * DIGEST
}

/** The info dictionary up to its digests; after them just its end follows. */
function infoBefore(key: ManifestKey): Buffer {
  const name = manifestName(key)
  const pieceLength = manifestPieceLength(key.size)
  return Buffer.from(
    `d6:lengthi${key.size}e4:name${name.length}:${name}12:piece lengthi${pieceLength}e6:pieces${hashBytes(key)}:`,
    'latin1',
  )
}

function invalid(why: string): AnnexfsError {
  return new AnnexfsError('INVALID', `this is not the manifest of its key: ${why}`)
}
