import { randomInt } from 'node:crypto'
import { basename, join } from 'node:path'
import { barePieces } from './bare-peer.js'
import { annexfs, onlyPeer } from './contestants.js'
import { startSlowProxy } from '../test/support/slow-proxy.js'
import type { Bytes, Milliseconds } from '../lib/space/space.js'
import { makeFolder, type Lab } from './lab.js'
import { mount, type Contestant } from './mounts.js'
import { annexfsOn, MIB, slowRemotes } from './parallel-remotes.js'
import { read } from './reading.js'
import { makeServedFile } from './served-file.js'
import { startSeeder } from './stream-seeder.js'

/** A film of 8 Mbit/s that is read at twice its rate, from a source that could give a fifth more. */
const MEDIA_RATE = MIB
const PLAYED_AT = 2 * MEDIA_RATE
export const SOURCE_RATE = 1.2 * PLAYED_AT
/** The line's round trip. */
export const ROUND_TRIP: Milliseconds = 40
/** Watched for so long after each seek. */
const WATCHED: Milliseconds = 1_000
const ALIGNED: Bytes = 32 * 1024
/** What the kernel asks for at once after a seek, however little was read. */
const ASKED_AT_ONCE: Bytes = 128 * 1024
const WEB_PIECE: Bytes = 128 * 1024
const TORRENT_PIECE: Bytes = 256 * 1024

/** A slow source of one file, and annexfs on it. */
export interface Slow {
  readonly contestant: Contestant
  readonly pieceLength: Bytes
  /** Times that pieces take when nothing else is on the line; not for the web. */
  idlePieces?(count: number): Promise<readonly Milliseconds[]>
}

export async function slowWeb(lab: Lab, length: Bytes): Promise<Slow> {
  const remotes = await slowRemotes(lab, length, 1, SOURCE_RATE)
  for (const proxy of remotes.proxies) proxy.latency = ROUND_TRIP
  return { contestant: annexfsOn(await remotes.repository([0])), pieceLength: WEB_PIECE }
}

export async function slowSwarm(lab: Lab, length: Bytes): Promise<Slow> {
  const { file } = await makeServedFile(lab, 'film.bin', length)
  const torrent = join(await makeFolder(lab.folder, 'slow-swarm'), 'film.torrent')
  const seeder = await startSeeder(lab, { file, torrent, pieceLength: TORRENT_PIECE })
  const line = await startSlowProxy({ host: seeder.host, port: seeder.port, rate: SOURCE_RATE, latency: ROUND_TRIP })
  lab.onClose(() => line.close())
  const contestant = annexfs({
    settings: 'one peer by --peer',
    file: basename(file),
    source: torrent,
    options: onlyPeer(`127.0.0.1:${line.port}`),
  })
  const idlePieces = (count: number): ReturnType<typeof barePieces> =>
    barePieces(lab, { torrent, port: line.port, count })
  return { contestant, pieceLength: TORRENT_PIECE, idlePieces }
}

export interface Played {
  /** Pauses after the start, together. */
  readonly stalled: Milliseconds
  readonly started: Milliseconds
}

/** Plays from the start for some time. */
export async function playOn(lab: Lab, { contestant }: Slow, duration: Milliseconds): Promise<Played> {
  const mounted = await mount(lab, contestant)
  try {
    const places = [{ offset: 0, duration }]
    const result = await read(lab, { kind: 'play', path: mounted.file, rate: PLAYED_AT, places })
    return { stalled: result.stalled[0] ?? NaN, started: result.started[0] ?? NaN }
  } finally {
    await mounted.unmount()
  }
}

/** Times from a seek to its first bytes, of somebody who plays for a second and seeks on. */
export async function seekOn(
  lab: Lab,
  { contestant, pieceLength }: Slow,
  length: Bytes,
  count: number,
): Promise<readonly Milliseconds[]> {
  const mounted = await mount(lab, contestant)
  try {
    const step = Math.floor(length / (count + 2))
    const offsets = Array.from({ length: count }, (_, i) => (i * 7 + 3) % count).map((i) => {
      const offset = (i + 1) * step + randomInt(Math.max(1, step - 4 * MIB))
      // Not on the border of two pieces, which would both be waited for.
      const beyond = Math.max(0, (offset % pieceLength) + ASKED_AT_ONCE - pieceLength)
      return offset - beyond - ((offset - beyond) % ALIGNED)
    })
    const places = [0, ...offsets].map((offset) => ({ offset, duration: WATCHED }))
    const { first } = await read(lab, { kind: 'play', path: mounted.file, rate: PLAYED_AT, places })
    return first.slice(1)
  } finally {
    await mounted.unmount()
  }
}

/** What a seek may take: one piece at the source's rate, and one round trip. */
export function seekBound({ pieceLength }: Slow): Milliseconds {
  return (pieceLength * 1000) / SOURCE_RATE + ROUND_TRIP
}
