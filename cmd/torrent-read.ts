import { AnnexfsError, isAnnexfsError, reasonOf } from '../lib/errors.js'
import type { Bytes } from '../lib/space/space.js'
import { LARGEST_METAINFO } from '../lib/torrent/metainfo.js'
import { readRegularFile } from '../lib/tree/torrent-read.js'
import { torrentFacts, type TorrentFacts } from './torrent-facts.js'

/**
 * What the `.torrent` file at `path` says; `-` is standard input.
 * @throws AnnexfsError NOT_FOUND, INVALID, UNSUPPORTED, with the path.
 */
export async function readFacts(path: string): Promise<TorrentFacts> {
  try {
    return torrentFacts(path === '-' ? await readInput() : (await readRegularFile(path, LARGEST_METAINFO)).bytes)
  } catch (error) {
    const code = isAnnexfsError(error) ? error.code : 'NOT_FOUND'
    throw new AnnexfsError(code, `${path}: ${reasonOf(error)}`, { cause: error })
  }
}

async function readInput(): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length: Bytes = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > LARGEST_METAINFO) {
      throw new AnnexfsError(
        'INVALID',
        `there is more than the ${LARGEST_METAINFO} bytes that a .torrent file may have`,
      )
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
