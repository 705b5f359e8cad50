import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { annexfs, LOOPBACK, rclone, RCLONE_SETTINGS } from './contestants.js'
import type { Row } from './figure.js'
import { gitEnvironment } from './http.js'
import { runProgram, type Lab } from './lab.js'
import { mount, type Contestant } from './mounts.js'
import { Samples } from './samples.js'
import { makeMedia } from './stream-media.js'
import { makeServedFile } from './served-file.js'
import { startWebServer } from './web-server.js'

export interface ScanSetting {
  readonly section: string
  readonly scanned: number
  readonly installed: (program: string) => boolean
  readonly wants: (row: string) => boolean
  readonly say: (what: string) => void
}

const MIB = 1024 * 1024
const SIZE = 24 * MIB
/** What a server still sends when its client has gone. */
const AFTERMATH = 700

/** What is run over all files, with `{}` for the folder. */
const SCANS: readonly { readonly name: string; readonly needs: string; readonly run: string }[] = [
  { name: 'head -c 100', needs: 'head', run: 'for f in "$1"/*; do head -c 100 "$f"; done' },
  { name: 'file', needs: 'file', run: 'file "$1"/*' },
  { name: 'grep -l -m1', needs: 'grep', run: 'grep -a -l -m1 ftyp "$1"/*' },
  { name: 'ffprobe', needs: 'ffprobe', run: 'for f in "$1"/*; do ffprobe -v error "$f"; done' },
]

export const SCAN_ROWS: readonly string[] = SCANS.map((one) => rowOf(one.name))

function rowOf(name: string): string {
  return `${name}: fetched per file`
}

/** What programs that look into many files make a mount fetch. */
export async function scanRows(lab: Lab, setting: ScanSetting): Promise<Row[]> {
  const { section, scanned, installed, wants, say } = setting
  say(`${section}: preparing`)
  const samples = new Samples()
  const media = installed('ffmpeg')
    ? (await makeMedia(lab, SIZE)).find((one) => one.name === 'mp4, index first')?.file
    : undefined
  const { file } = await makeServedFile(lab, 'source.bin', SIZE)
  const root = await lab.folderFor('scanned')
  for (let i = 0; i < scanned; i++) await symlink(media ?? file, join(root, `film-${String(i).padStart(3, '0')}.mp4`))
  const server = await startWebServer(lab, root)
  const contestants = await scanners(lab, server.url, scanned, installed)
  for (const { name, needs, run } of SCANS) {
    const row = rowOf(name)
    if (!wants(row) || !installed(needs)) continue
    for (const contestant of contestants) {
      say(`${contestant.name}: ${name} over ${scanned} files`)
      const before = await server.sent()
      const mounted = await mount(lab, contestant)
      try {
        // grep says 1 when some file has no match, ffprobe when it cannot read one.
        await runProgram('sh', ['-c', `${run}; true`, 'sh', mounted.path], { maxBuffer: 64 * MIB })
      } finally {
        await mounted.unmount()
      }
      await sleep(AFTERMATH)
      samples.add(row, contestant.name, ((await server.sent()) - before) / scanned / 1024)
    }
  }
  return SCAN_ROWS.filter(wants)
    .map((name) => samples.row({ section, name, unit: 'KiB', better: 'less', target: 1 }))
    .filter((row) => row !== undefined)
}

async function scanners(
  lab: Lab,
  url: string,
  count: number,
  installed: (program: string) => boolean,
): Promise<Contestant[]> {
  const repository = await lab.folderFor('repository')
  const git = (...args: string[]): Promise<unknown> =>
    runProgram('git', ['-c', 'annex.security.allowed-ip-addresses=127.0.0.1', ...args], {
      cwd: repository,
      env: gitEnvironment(repository),
    })
  await git('init', '--quiet')
  await git('annex', 'init', '--quiet', 'bench')
  const names = Array.from({ length: count }, (_, i) => `film-${String(i).padStart(3, '0')}.mp4`)
  await git('annex', 'addurl', '--quiet', '--fast', '--preserve-filename', ...names.map((name) => `${url}/${name}`))
  await git('commit', '--quiet', '--message', 'Films')
  const mine = annexfs({ settings: 'keys with a URL', file: '', source: repository, options: LOOPBACK })
  const other = rclone({ settings: RCLONE_SETTINGS, file: '', source: url })
  return installed('rclone') ? [mine, other] : [mine]
}
