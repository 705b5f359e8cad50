import { randomInt } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseMetainfo } from '../lib/torrent/metainfo.js'
import { connectRaw, MESSAGE } from '../test/support/raw-peer.js'
import type { Milliseconds } from '../lib/space/space.js'
import type { Lab } from './lab.js'

const BLOCK = 16 * 1024
/** Until the line is surely idle again. */
const PAUSE: Milliseconds = 150
const PATIENCE: Milliseconds = 10_000

/**
 * Times that pieces at random take a client of a few lines which wants nothing else, and neither checks nor keeps them: what the
 * line and the seeder take, whatever the client does.
 */
export async function barePieces(
  lab: Lab,
  { torrent, port, count }: { torrent: string; port: number; count: number },
): Promise<readonly Milliseconds[]> {
  const { infohash, space } = parseMetainfo(await readFile(torrent))
  const context = { after: (close: () => void) => lab.onClose(async () => close()) }
  const wire = await connectRaw(context, '127.0.0.1', '127.0.0.1', port, infohash)
  try {
    await new Promise<void>((resolve) => {
      wire.onMessage = (id) => {
        if (id === MESSAGE.unchoke) resolve()
      }
      wire.send(MESSAGE.interested)
    })
    const times: Milliseconds[] = []
    for (let turn = 0; turn < count; turn++) {
      await sleep(PAUSE)
      times.push(await onePiece(wire, randomInt(Math.floor(space.length / space.pieceLength)), space.pieceLength))
    }
    return times
  } finally {
    wire.socket.destroy()
  }
}

async function onePiece(
  wire: Awaited<ReturnType<typeof connectRaw>>,
  index: number,
  pieceLength: number,
): Promise<Milliseconds> {
  const began = performance.now()
  const blocks = Math.ceil(pieceLength / BLOCK)
  let timer: NodeJS.Timeout | undefined
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no piece within ${PATIENCE} ms`)), PATIENCE)
      let came = 0
      wire.onMessage = (id) => {
        if (id === MESSAGE.piece && ++came === blocks) resolve()
      }
      for (let block = 0; block < blocks; block++) {
        const request = Buffer.alloc(12)
        request.writeUInt32BE(index, 0)
        request.writeUInt32BE(block * BLOCK, 4)
        request.writeUInt32BE(Math.min(BLOCK, pieceLength - block * BLOCK), 8)
        wire.send(MESSAGE.request, request)
      }
    })
  } finally {
    clearTimeout(timer)
  }
  return performance.now() - began
}
