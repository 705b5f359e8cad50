import { AnnexfsError } from '../errors.js'
import type { PieceSpace } from '../space/space.js'
import type { Metainfo, Torrent } from '../torrent/torrent.js'
import type { VerifiedPiece } from '../verify/piece.js'
import type { Demand, Holding, Source } from './source.js'

/** What this source needs of a swarm: one verified piece. */
export interface PieceSwarm {
  piece(torrent: Metainfo, extraPeers: readonly string[], index: number, demand: Demand): Promise<VerifiedPiece>
}

/** Peers are far away and slow to find: a mirror over HTTP is asked before them. */
const SWARM_COST = 210
/** Pieces that are assembled at once cost this much memory at the most, here and in the swarm's process. */
const BYTES_AT_ONCE = 64 * 1024 * 1024
const PIECES_AT_ONCE = 64
const FEWEST_AT_ONCE = 2

/** The torrent's content as peers have it. Which peer has what is learnt only by asking, so {@link Holding.has} is true. */
export function swarmSource(swarm: PieceSwarm, torrent: Torrent, extraPeers: readonly string[]): Source {
  return {
    name: 'swarm',
    cost: SWARM_COST,
    // Each torrent has peers of its own.
    place: `swarm ${torrent.spaceId}`,
    find: async (space, signal) => {
      if (space.id !== torrent.spaceId) return undefined
      signal.throwIfAborted()
      const metainfo = await torrent.load()
      if (metainfo.space.length !== space.length || metainfo.space.pieceLength !== space.pieceLength) {
        throw new AnnexfsError('INVALID', `${space.id}: the torrent and its cached space disagree about its pieces`)
      }
      return holding(swarm, metainfo, extraPeers, metainfo.space)
    },
  }
}

function holding(swarm: PieceSwarm, torrent: Metainfo, extraPeers: readonly string[], space: PieceSpace): Holding {
  const fitting = Math.floor(BYTES_AT_ONCE / space.pieceLength)
  const piece = (index: number, demand: Demand): Promise<VerifiedPiece> =>
    swarm.piece(torrent, extraPeers, index, demand)
  return {
    unit: space.pieceLength,
    longest: space.pieceLength,
    parallel: Math.max(FEWEST_AT_ONCE, Math.min(PIECES_AT_ONCE, fitting)),
    has: () => true,
    piece,
    async *read(range, demand) {
      if (range.start < 0 || range.end > space.length) {
        throw new AnnexfsError('INVALID', `${space.id}: the range ${range.start}-${range.end} lies outside of it`)
      }
      let at = range.start
      while (at < range.end) {
        const index = Math.floor(at / space.pieceLength)
        const start = index * space.pieceLength
        const { bytes } = await piece(index, demand)
        const end = Math.min(range.end, start + bytes.byteLength)
        yield bytes.subarray(at - start, end - start)
        at = end
      }
    },
  }
}
