import { stat } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { AnnexfsError, reasonOf } from '../errors.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { encodeBencode, type Encodable } from './bencode.js'
import { listLocalFiles, type LocalFile } from './create-files.js'
import { hashPieces } from './create-hash.js'
import { checkPieceLength, madePieceLength } from './create-rule.js'
import { parseMetainfo, type Metainfo } from './metainfo.js'
import { trackerUrl, webSeedUrl } from './metainfo-sources.js'

export interface CreateOptions {
  /** A file or a folder. */
  readonly path: string
  /** A power of two from 16 KiB to 128 MiB; default: by {@link madePieceLength}. */
  readonly pieceLength?: Bytes
  /** BEP 12: tiers of announce URLs. */
  readonly trackers?: readonly (readonly string[])[]
  /** BEP 19. */
  readonly webSeeds?: readonly string[]
  /** BEP 27. */
  readonly private?: boolean
  readonly comment?: string
  /** A word that private trackers ask for, so that the infohash is theirs alone. */
  readonly source?: string
  /** Default: the name of the file or folder. */
  readonly name?: string
  readonly createdBy?: string
  /** Undefined: not said. */
  readonly createdAt?: Milliseconds
  /** A file that is no part of the torrent although it lies in the folder. */
  readonly except?: string
  readonly signal: AbortSignal
  /** Told before hashing begins. */
  readonly onStart?: (total: Bytes, files: number) => void
  readonly onBytes?: (bytes: Bytes) => void
}

/**
 * Makes the metainfo (BEP 3, version 1) of a file or folder. For the same settings its infohash is that of mktorrent.
 * @throws AnnexfsError USAGE for what is no URL, name or piece length; as `listLocalFiles` and `hashPieces`.
 */
export async function createTorrent(options: CreateOptions): Promise<Metainfo> {
  const { signal, trackers = [], webSeeds = [] } = options
  for (const url of trackers.flat()) {
    if (trackerUrl(url) !== url) throw notUrl('a tracker', 'http, https, udp, ws or wss', url)
  }
  for (const url of webSeeds) if (webSeedUrl(url) !== url) throw notUrl('a web seed', 'http or https', url)
  if (options.pieceLength !== undefined) checkPieceLength(options.pieceLength)
  const name = nameOf(options)
  const { folder, files } = await listLocalFiles(resolve(options.path), {
    signal,
    ...(options.except !== undefined && { except: options.except }),
  })
  const total = files.reduce((sum, file) => sum + file.length, 0)
  if (total === 0) {
    throw new AnnexfsError(
      'INVALID',
      `${options.path} cannot be a torrent: there is not a byte in it, and clients refuse such`,
    )
  }
  const pieceLength = options.pieceLength ?? madePieceLength(total)
  options.onStart?.(total, files.length)
  const { digests } = await hashPieces(files, pieceLength, {
    signal,
    ...(options.onBytes !== undefined && { onBytes: options.onBytes }),
  })
  await refuseChanged(files)
  const info: Record<string, Encodable | undefined> = {
    ...(folder ? { files: files.map((file) => ({ length: file.length, path: file.names })) } : { length: total }),
    name,
    'piece length': pieceLength,
    pieces: digests,
    private: options.private === true ? 1 : undefined,
    source: options.source,
  }
  const tiers = trackers.filter((tier) => tier.length > 0)
  const [first] = tiers.flat()
  const bytes = encodeBencode({
    announce: first,
    // One tracker is said once; clients without BEP 12 read `announce`.
    'announce-list': tiers.flat().length > 1 ? tiers : undefined,
    comment: options.comment,
    'created by': options.createdBy,
    'creation date': options.createdAt === undefined ? undefined : Math.floor(options.createdAt / 1000),
    info,
    'url-list': webSeeds.length === 0 ? undefined : webSeeds,
  })
  // What we make we also read.
  return parseMetainfo(bytes)
}

function nameOf(options: CreateOptions): string {
  const name = options.name ?? basename(resolve(options.path))
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) {
    throw new AnnexfsError('USAGE', `${JSON.stringify(name)} cannot be the name of a torrent; give another with --name`)
  }
  return name
}

/** Hashes of a file that changed after its pieces were read are those of no file at all. */
async function refuseChanged(files: readonly LocalFile[]): Promise<void> {
  for (const file of files) {
    const shown = file.path.toString('utf8')
    const now = await stat(file.path).catch((error: unknown) => {
      throw new AnnexfsError('INVALID', `${shown} was changed while it was read: ${reasonOf(error)}`, { cause: error })
    })
    if (now.size !== file.length || now.mtimeMs !== file.mtime) {
      throw new AnnexfsError('INVALID', `${shown} was changed while it was read; start again when it is at rest`)
    }
  }
}

function notUrl(what: string, schemes: string, url: string): AnnexfsError {
  return new AnnexfsError('USAGE', `${JSON.stringify(url)} is not the URL of ${what} (${schemes})`)
}
