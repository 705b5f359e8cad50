import { createHash } from 'node:crypto'
import { encodeBencode, type Encodable } from '../../lib/torrent/bencode.js'

/** A file for {@link makeInfo}: `path` is of strings (UTF-8) or raw bytes. */
export interface MadeFile {
  readonly path: readonly (string | Uint8Array)[]
  readonly length: number
  readonly attr?: string
  readonly symlinkPath?: readonly string[]
}

export interface MadeInfo {
  readonly name?: string | Uint8Array
  readonly pieceLength?: number
  /** One file of this length, or `files`. */
  readonly length?: number
  readonly files?: readonly MadeFile[]
  readonly private?: boolean
  /** The digest of each piece is over its number and this, so that torrents that differ only in it have other hashes. */
  readonly seed?: string
  /** Keys to add or replace; `undefined` leaves one out. */
  readonly extra?: { readonly [key: string]: Encodable | undefined }
}

/** An info dictionary (BEP 3) whose piece count fits its length; the hashes belong to no content. */
export function makeInfo(options: MadeInfo): { [key: string]: Encodable | undefined } {
  const { name = 'made', pieceLength = 16_384, files, length = 100_000 } = options
  const total = files === undefined ? length : files.reduce((sum, file) => sum + file.length, 0)
  const info: { [key: string]: Encodable | undefined } = {
    name,
    'piece length': pieceLength,
    pieces: madeHashes(Math.ceil(total / pieceLength), options.seed ?? ''),
    private: options.private === true ? 1 : undefined,
  }
  if (files === undefined) info['length'] = length
  else info['files'] = files.map(madeFile)
  return { ...info, ...options.extra }
}

/** A whole `.torrent` file; `root` has keys beside `info`. */
export function makeTorrent(options: MadeInfo, root: { readonly [key: string]: Encodable | undefined } = {}): Buffer {
  return encodeBencode({ ...root, info: makeInfo(options) })
}

/** The infohash of {@link makeTorrent} with the same options. */
export function infohashOf(options: MadeInfo): string {
  return createHash('sha1')
    .update(encodeBencode(makeInfo(options)))
    .digest('hex')
}

/** A torrent over real bytes, so that pieces of it can be verified: one file called `name`. */
export function makeTorrentOf(content: Uint8Array, name: string, pieceLength = 16_384): Buffer {
  const hashes: Buffer[] = []
  for (let start = 0; start < content.length; start += pieceLength) {
    hashes.push(
      createHash('sha1')
        .update(content.subarray(start, start + pieceLength))
        .digest(),
    )
  }
  return makeTorrent({ name, pieceLength, length: content.length, extra: { pieces: Buffer.concat(hashes) } })
}

function madeFile(file: MadeFile): Encodable {
  return {
    length: file.length,
    path: file.path,
    attr: file.attr,
    'symlink path': file.symlinkPath,
  }
}

function madeHashes(count: number, seed: string): Buffer {
  const hashes = Buffer.alloc(count * 20)
  for (let index = 0; index < count; index += 1) {
    createHash('sha1')
      .update(`${seed}:${index}`)
      .digest()
      .copy(hashes, index * 20)
  }
  return hashes
}
