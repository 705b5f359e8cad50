import { stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { annexfs, LOOPBACK, onlyPeer } from './contestants.js'
import type { Bytes } from '../lib/space/space.js'
import type { Row } from './figure.js'
import { gitEnvironment } from './http.js'
import { makeFolder, runProgram, type Lab } from './lab.js'
import { mount, type Contestant } from './mounts.js'
import { Samples } from './samples.js'
import { startSeeder } from './stream-seeder.js'
import { startWebServer } from './web-server.js'

export interface MediaSetting {
  readonly section: string
  readonly length: Bytes
  readonly swarm: boolean
  readonly wants: (row: string) => boolean
  readonly say: (what: string) => void
}

export interface Medium {
  readonly name: string
  readonly file: string
  readonly size: Bytes
  /** In seconds. */
  readonly duration: number
}

const MIB = 1024 * 1024
/** 8 Mbit/s, made up with filler, so that the size follows from the duration. */
const RATE = MIB
const GIB = 1024 * MIB
const AFTERMATH = 700
const KINDS = ['mp4, index last', 'mp4, index first', 'mkv'] as const
const WAYS = ['HTTP', 'swarm'] as const
const PROBE = 'ffprobe'
const FRAME = 'ffmpeg -ss, one frame'
const PROBE_BOUND = 2
const FRAME_BOUND = 5

export const MEDIA_ROWS: readonly string[] = WAYS.flatMap((way) =>
  KINDS.flatMap((kind) => [rowOf(PROBE, kind, way), rowOf(FRAME, kind, way)]),
)

function rowOf(what: string, kind: string, way: string): string {
  return `${what} of ${kind}, ${way}`
}

/** A film of about `length` bytes in three containers. */
export async function makeMedia(lab: Lab, length: Bytes): Promise<readonly Medium[]> {
  const folder = await lab.folderFor('media')
  const duration = Math.max(2, Math.floor(length / RATE))
  const first = join(folder, 'last.mp4')
  const ffmpeg = (...args: string[]): Promise<unknown> => runProgram('ffmpeg', ['-v', 'error', '-y', ...args])
  await ffmpeg(
    '-f',
    'lavfi',
    '-i',
    'testsrc=size=640x360:rate=25',
    '-f',
    'lavfi',
    '-i',
    'anoisesrc=r=44100',
    '-t',
    String(duration),
    '-c:v',
    'libx264',
    '-preset',
    'ultrafast',
    '-g',
    '50',
    '-b:v',
    '8200k',
    '-minrate',
    '8200k',
    '-maxrate',
    '8200k',
    '-bufsize',
    '8200k',
    '-x264-params',
    'nal-hrd=cbr',
    '-c:a',
    'aac',
    '-b:a',
    '128k',
    first,
  )
  const others = [join(folder, 'first.mp4'), join(folder, 'film.mkv')]
  await ffmpeg('-i', first, '-c', 'copy', '-movflags', '+faststart', others[0] ?? '')
  await ffmpeg('-i', first, '-c', 'copy', others[1] ?? '')
  return Promise.all(
    [first, ...others].map(async (file, i) => ({
      name: KINDS[i] ?? '',
      file,
      size: (await stat(file)).size,
      duration,
    })),
  )
}

/** The part of a film that is fetched for what media tools do. */
export async function mediaRows(lab: Lab, setting: MediaSetting): Promise<Row[]> {
  const { section, length, wants, say } = setting
  say(`${section}: preparing`)
  const media = await makeMedia(lab, length)
  const samples = new Samples()
  for (const way of WAYS) {
    if (way === 'swarm' && !setting.swarm) continue
    for (const medium of media) {
      const rows = [rowOf(PROBE, medium.name, way), rowOf(FRAME, medium.name, way)] as const
      if (!rows.some(wants)) continue
      const shown = await (way === 'HTTP' ? served(lab, medium) : seeded(lab, medium))
      const measure = async (row: string, bound: number, run: (path: string) => Promise<unknown>): Promise<void> => {
        if (!wants(row)) return
        say(`annexfs: ${row}`)
        const before = await shown.sent()
        const mounted = await mount(lab, shown.contestant)
        try {
          await run(mounted.file)
        } finally {
          await mounted.unmount()
        }
        await sleep(AFTERMATH)
        samples.add(row, 'annexfs', (((await shown.sent()) - before) * 100) / GIB)
        samples.add(row, 'goal', bound)
      }
      await measure(rows[0], PROBE_BOUND, (path) =>
        runProgram('ffprobe', ['-v', 'error', '-show_format', '-show_streams', path]),
      )
      await measure(rows[1], FRAME_BOUND, (path) =>
        runProgram('ffmpeg', [
          '-v',
          'error',
          '-nostdin',
          '-ss',
          String(medium.duration / 2),
          '-i',
          path,
          '-frames:v',
          '1',
          '-f',
          'null',
          '-',
        ]),
      )
    }
  }
  return MEDIA_ROWS.filter(wants)
    .map((name) => samples.row({ section, name, unit: 'fetched in % of 1 GiB', better: 'less', target: 1 }))
    .filter((row) => row !== undefined)
}

interface Shown {
  readonly contestant: Contestant
  sent(): Promise<Bytes>
}

async function served(lab: Lab, { file }: Medium): Promise<Shown> {
  const server = await startWebServer(lab, join(file, '..'))
  const repository = await lab.folderFor('repository')
  const name = basename(file)
  const git = (...args: string[]): Promise<unknown> =>
    runProgram('git', ['-c', 'annex.security.allowed-ip-addresses=127.0.0.1', ...args], {
      cwd: repository,
      env: gitEnvironment(repository),
    })
  await git('init', '--quiet')
  await git('annex', 'init', '--quiet', 'bench')
  await git('annex', 'addurl', '--quiet', '--fast', `--file=${name}`, `${server.url}/${name}`)
  await git('commit', '--quiet', '--message', 'A film')
  const contestant = annexfs({ settings: 'a key with a URL', file: name, source: repository, options: LOOPBACK })
  return { contestant, sent: () => server.sent() }
}

async function seeded(lab: Lab, { file }: Medium): Promise<Shown> {
  const torrents = await makeFolder(lab.folder, `torrents-${basename(file)}`)
  const seeder = await startSeeder(lab, { file, torrent: join(torrents, 'film.torrent'), pieceLength: MIB })
  const contestant = annexfs({
    settings: 'one peer by --peer',
    file: basename(file),
    source: seeder.torrent,
    options: onlyPeer(seeder.address),
  })
  return { contestant, sent: () => seeder.sent() }
}
