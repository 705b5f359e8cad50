import { readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { annexfs, LOOPBACK, onlyPeer } from './contestants.js'
import { startSlowProxy } from '../test/support/slow-proxy.js'
import type { Bytes } from '../lib/space/space.js'
import { freePort } from './free-port.js'
import { makeFolder, type Lab } from './lab.js'
import { mount } from './mounts.js'
import { read } from './reading.js'
import { makeServedFile } from './served-file.js'
import { startWebServer } from './web-server.js'

const SEEDER = '127.0.0.2'
// Compiled code runs from an output folder; the script stays beside its source.
const SCRIPT = fileURLToPath(import.meta.url).replace(/dist[^/]*\/bench\/[^/]*$/, 'bench/seeder.py')

/**
 * Reads a torrent's file from a web seed (BEP 19) and one peer, each behind a line of `rate` bytes a second.
 * @returns bytes per second of a sequential read of all of it.
 */
export async function webAndSwarm(lab: Lab, length: Bytes, rate: number): Promise<number> {
  const { folder, file } = await makeServedFile(lab, 'shared.bin', length)
  const server = await startWebServer(lab, folder)
  const web = await startSlowProxy({ port: Number(new URL(server.url).port), rate })
  const listen = await freePort(SEEDER)
  const peer = await startSlowProxy({ host: SEEDER, port: listen, rate })
  lab.onClose(async () => {
    await Promise.all([web.close(), peer.close()])
  })
  const torrent = join(await makeFolder(lab.folder, 'web-and-swarm'), 'shared.torrent')
  const told = {
    file,
    torrent,
    tracker: `http://${SEEDER}:${await freePort(SEEDER)}/announce`,
    listen: `${SEEDER}:${listen}`,
    pieceLength: 256 * 1024,
    ownNetwork: false,
  }
  const seeder = lab.start(['/usr/bin/python3', SCRIPT, JSON.stringify(told)], { stdio: ['pipe', 'pipe', 'pipe'] })
  const { stdin, stdout } = seeder.process
  if (stdin === null || stdout === null) throw new Error('the seeder has no pipes')
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  await lines.next()
  stdin.write('seed\n')
  await lines.next()
  const url = `http://127.0.0.1:${web.port}/${basename(file)}`
  // The last key of the outer dictionary, as their order wants it (BEP 3).
  const metainfo = await readFile(torrent)
  await writeFile(torrent, Buffer.concat([metainfo.subarray(0, -1), Buffer.from(`8:url-list${url.length}:${url}e`)]))
  const contestant = annexfs({
    settings: 'a torrent with a web seed, one peer by --peer',
    file: basename(file),
    source: torrent,
    options: [...LOOPBACK, ...onlyPeer(`127.0.0.1:${peer.port}`)],
  })
  const mounted = await mount(lab, contestant)
  try {
    const job = { kind: 'sequential', path: mounted.file, most: length, within: 170_000 } as const
    const { bytes, took } = await read(lab, job)
    if (bytes !== length) throw new Error(`${bytes} of ${length} bytes were read`)
    return (bytes * 1000) / took
  } finally {
    await mounted.unmount()
    await seeder.stop()
  }
}
