import assert from 'node:assert/strict'
import { unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { encodeBencode } from '../../lib/torrent/bencode.js'
import { parseMagnet, type Magnet } from '../../lib/torrent/magnet.js'
import { parseMetainfo } from '../../lib/torrent/metainfo.js'
import type { MagnetTimes, ResolveMagnet } from '../../lib/tree/torrent-magnets.js'
import { SingleTorrent } from '../../lib/tree/torrent-single.js'
import { infohashOf, makeInfo, makeTorrent, type MadeInfo } from '../support/metainfo.js'
import { temporaryFolder } from '../support/temp.js'
import { MemoryFacts, names, never, openFolder, recordingLog, until, walk } from './torrent-support.js'

const FAST: MagnetTimes = { attempt: 20_000, firstPause: 20, longestPause: 100 }
const FILM: MadeInfo = { name: 'film.mkv', length: 50_000 }
const SET: MadeInfo = { name: 'set', files: [{ path: ['deep', 'a'], length: 5 }] }

const linkTo = (options: MadeInfo, rest = ''): string => `magnet:?xt=urn:btih:${infohashOf(options)}${rest}`

/** Peers that know some torrents and answer after a moment. */
function peersWith(...known: readonly MadeInfo[]): ResolveMagnet & { asked: Magnet[] } {
  const infos = new Map(known.map((options) => [infohashOf(options), encodeBencode(makeInfo(options))]))
  const asked: Magnet[] = []
  const resolve = async (magnet: Magnet): Promise<Buffer> => {
    asked.push(magnet)
    await sleep(10)
    const info = infos.get(magnet.infohash)
    if (info === undefined) throw new Error('no peer has it')
    return info
  }
  return Object.assign(resolve, { asked })
}

test('magnets of a list are shown as their metadata becomes known, which is kept', async (t) => {
  const folder = await temporaryFolder(t)
  const facts = new MemoryFacts()
  const resolveMagnet = peersWith(FILM, SET)
  const lines = [
    '# mine',
    '',
    linkTo(FILM, '&tr=udp://127.0.0.1:1/&x.pe=127.0.0.1:5'),
    `  ${linkTo(SET)}\r`,
    linkTo(FILM),
  ]
  await writeFile(join(folder, 'list.magnet'), lines.join('\n'))
  const tree = await openFolder(t, folder, { facts, resolveMagnet, magnetTimes: FAST })
  await until(async () => (await walk(tree)).join() === '/film.mkv,/set/,/set/deep/,/set/deep/a')
  const node = await tree.lookup('/film.mkv', never)
  assert.ok(node?.kind === 'file' && node.content.kind === 'torrent')
  const metainfo = await node.content.torrent.load()
  assert.deepEqual([metainfo.trackers, metainfo.peers], [[['udp://127.0.0.1:1/']], ['127.0.0.1:5']])
  assert.equal(parseMetainfo(facts.saved.get(infohashOf(FILM)) ?? Buffer.alloc(0)).infohash, infohashOf(FILM))
  assert.equal(resolveMagnet.asked.length, 2)

  const again = peersWith()
  const next = await openFolder(t, folder, { facts, resolveMagnet: again, magnetTimes: FAST })
  await until(async () => (await names(next)).length === 2)
  assert.equal(again.asked.length, 0, 'what was kept is not asked for again')
})

test('a list that grows keeps what it showed; a magnet that is taken out vanishes', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'list.magnet')
  await writeFile(path, linkTo(FILM))
  const tree = await openFolder(t, folder, { resolveMagnet: peersWith(FILM, SET), magnetTimes: FAST })
  await until(async () => (await names(tree)).join() === 'film.mkv')
  await writeFile(path, `${linkTo(FILM)}\n${linkTo(SET)}\n`)
  await until(async () => (await names(tree)).join() === 'film.mkv,set')
  await writeFile(path, linkTo(SET))
  await until(async () => (await names(tree)).join() === 'set')
  await unlink(path)
  await until(async () => (await names(tree)).length === 0)
})

test('a magnet and a .torrent file of the same torrent are one', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'a.magnet'), linkTo(FILM, '&tr=udp://127.0.0.1:1/'))
  await writeFile(join(folder, 'b.torrent'), makeTorrent(FILM, { announce: 'udp://127.0.0.1:2/' }))
  const tree = await openFolder(t, folder, { resolveMagnet: peersWith(FILM), magnetTimes: FAST })
  const trackers = async (): Promise<string[]> => {
    const node = await tree.lookup('/film.mkv', never)
    assert.ok(node?.kind === 'file' && node.content.kind === 'torrent')
    return (await node.content.torrent.load()).trackers.flat().toSorted()
  }
  await until(async () => (await trackers()).length === 2)
  assert.deepEqual(await trackers(), ['udp://127.0.0.1:1/', 'udp://127.0.0.1:2/'])
  assert.deepEqual(await names(tree), ['film.mkv'])
})

test('wrong metadata is never shown, and the right one is when it comes', async (t) => {
  const folder = await temporaryFolder(t)
  const facts = new MemoryFacts()
  const wrong = encodeBencode(makeInfo({ name: 'wrong' }))
  const answers = [wrong, Buffer.alloc(0), Buffer.from('l-3:e'), encodeBencode(makeInfo(FILM))]
  let asked = 0
  await writeFile(join(folder, 'a.magnet'), linkTo(FILM))
  const resolveMagnet: ResolveMagnet = () => Promise.resolve(answers[asked++] ?? Buffer.alloc(0))
  const tree = await openFolder(t, folder, { facts, resolveMagnet, magnetTimes: FAST })
  await until(async () => (await names(tree)).length > 0)
  assert.deepEqual(await names(tree), ['film.mkv'])
  assert.equal(asked, 4)
  assert.deepEqual([...facts.saved.keys()], [infohashOf(FILM)])
})

test('kept metadata that was tampered with is not believed', async (t) => {
  const folder = await temporaryFolder(t)
  const facts = new MemoryFacts()
  facts.saved.set(infohashOf(FILM), makeTorrent({ name: 'tampered' }))
  facts.saved.set(infohashOf(SET), Buffer.from('rubbish'))
  await writeFile(join(folder, 'a.magnet'), `${linkTo(FILM)}\n${linkTo(SET)}`)
  const tree = await openFolder(t, folder, { facts, resolveMagnet: peersWith(FILM, SET), magnetTimes: FAST })
  await until(async () => (await names(tree)).join() === 'film.mkv,set')
})

test('metadata that cannot be kept on disk is used all the same', async (t) => {
  const folder = await temporaryFolder(t)
  const facts = {
    loadMetainfo: () => Promise.resolve(undefined),
    saveMetainfo: () => Promise.reject(new Error('no space left on device')),
  }
  await writeFile(join(folder, 'a.magnet'), linkTo(FILM))
  const log = recordingLog()
  const tree = await openFolder(t, folder, { facts, log, resolveMagnet: peersWith(FILM), magnetTimes: FAST })
  await until(async () => (await names(tree)).join() === 'film.mkv')
  const node = await tree.lookup('/film.mkv', never)
  assert.ok(node?.kind === 'file' && node.content.kind === 'torrent')
  assert.equal((await node.content.torrent.load()).infohash, infohashOf(FILM))
  assert.match(log.warnings.join('\n'), /no space left/)
})

test('metadata that is the right one but not usable is said once and not asked for again', async (t) => {
  const folder = await temporaryFolder(t)
  const bad: MadeInfo = { name: 'bad', extra: { 'piece length': 1 } }
  const resolveMagnet = peersWith(bad)
  const log = recordingLog()
  await writeFile(join(folder, 'a.magnet'), linkTo(bad))
  const tree = await openFolder(t, folder, { log, resolveMagnet, magnetTimes: FAST })
  await until(() => log.warnings.length > 0)
  await sleep(200)
  assert.equal(log.warnings.length, 1)
  assert.match(log.warnings[0] ?? '', /piece length/)
  assert.equal(resolveMagnet.asked.length, 1)
  assert.deepEqual(await names(tree), [])
})

test('magnets that nobody answers do not keep others from being learnt, at most four at once', async (t) => {
  const folder = await temporaryFolder(t)
  const infos = Array.from({ length: 20 }, (_, index): MadeInfo => ({ name: `n${index}` }))
  const answered = peersWith(infos[19] ?? {})
  let atOnce = 0
  let most = 0
  const resolveMagnet: ResolveMagnet = async (magnet, signal) => {
    atOnce += 1
    most = Math.max(most, atOnce)
    try {
      if (magnet.infohash === infohashOf(infos[19] ?? {})) return await answered(magnet, signal)
      // Deaf to its signal until much later, as a stuck peer is.
      return await new Promise<Buffer>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true })
      })
    } finally {
      atOnce -= 1
    }
  }
  await writeFile(join(folder, 'a.magnet'), infos.map((options) => linkTo(options)).join('\n'))
  const tree = await openFolder(t, folder, { resolveMagnet, magnetTimes: { ...FAST, attempt: 200 } })
  await until(async () => (await names(tree)).join() === 'n19')
  assert.ok(most <= 4, `${most} at once`)
  await tree.close()
  assert.equal(atOnce, 0, 'closing ends what was under way')
})

test('a magnet as the only source is shown when its metadata is known', async (t) => {
  const facts = new MemoryFacts()
  const source = { magnet: parseMagnet(linkTo(SET)) }
  const tree = await SingleTorrent.open({
    source,
    log: silentLog,
    facts,
    resolveMagnet: peersWith(SET),
    magnetTimes: FAST,
  })
  t.after(() => tree.close())
  assert.deepEqual(await walk(tree), [])
  await tree.ready(AbortSignal.timeout(60_000))
  assert.deepEqual(await walk(tree), ['/set/', '/set/deep/', '/set/deep/a'])
})

test('waiting for a magnet ends with the signal, and closing with the tree', async () => {
  const facts = new MemoryFacts()
  const source = { magnet: parseMagnet(linkTo(SET)) }
  const stuck: ResolveMagnet = () => new Promise<Buffer>(() => undefined)
  const tree = await SingleTorrent.open({ source, log: silentLog, facts, resolveMagnet: stuck })
  await assert.rejects(tree.ready(AbortSignal.timeout(50)), (error) => isAnnexfsError(error, 'TIMED_OUT'))
  await tree.close()
})
