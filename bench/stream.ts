import type { Bytes, Milliseconds } from '../lib/space/space.js'
import type { Row } from './figure.js'
import type { Lab } from './lab.js'
import { Samples } from './samples.js'
import { MEDIA_ROWS, mediaRows } from './stream-media.js'
import { playOn, ROUND_TRIP, seekBound, seekOn, slowSwarm, slowWeb, SOURCE_RATE, type Slow } from './stream-player.js'
import { SCAN_ROWS, scanRows } from './stream-scan.js'

/** The rows about watching: a player, its seeks, what media tools and scanners make annexfs fetch. */
export interface StreamSetting {
  readonly length: Bytes
  readonly seeks: number
  readonly plays: Milliseconds
  readonly scanned: number
  readonly installed: (program: string) => boolean
  readonly swarm: boolean
  readonly wants: (section: string, row: string) => boolean
  readonly say: (what: string) => void
}

const PLAYER = 'player at 2x, source with 20 % to spare: pauses after start'
const START = 'player at 2x: from open to playing'
const SEEK = 'seek, 95th percentile'
const WATCHING = 'Watching'
/** A pause that nobody can see: less than a frame. */
const UNSEEN: Milliseconds = 40

export async function streamRows(lab: Lab, setting: StreamSetting): Promise<Row[]> {
  const rows: Row[] = []
  const line = `${(SOURCE_RATE / 2 ** 20).toFixed(1)} MiB/s and ${ROUND_TRIP} ms away`
  rows.push(...(await watching(lab, setting, `${WATCHING}: a web server ${line}`, slowWeb)))
  if (setting.swarm) rows.push(...(await watching(lab, setting, `${WATCHING}: a peer ${line}`, slowSwarm)))
  if (setting.installed('ffmpeg')) {
    const size = `${setting.length / 2 ** 20} MiB`
    const section = `Media: films of ${size} made by ffmpeg`
    const wants = (row: string): boolean => setting.wants(section, row)
    if (MEDIA_ROWS.some(wants)) rows.push(...(await mediaRows(lab, { ...setting, section, wants })))
  } else setting.say('ffmpeg is not installed (--install gets it): no rows about media tools')
  const section = `Scanners: ${setting.scanned} files behind nginx`
  const wants = (row: string): boolean => setting.wants(section, row)
  if (SCAN_ROWS.some(wants)) rows.push(...(await scanRows(lab, { ...setting, section, wants })))
  return rows
}

/** The 95th percentile. */
function mostOf(times: readonly Milliseconds[]): Milliseconds {
  return times.toSorted((a, b) => a - b)[Math.ceil(times.length * 0.95) - 1] ?? NaN
}

function inOrder(times: readonly Milliseconds[]): string {
  return times
    .toSorted((a, b) => a - b)
    .map((one) => one.toFixed(0))
    .join(' ')
}

async function watching(
  lab: Lab,
  setting: StreamSetting,
  section: string,
  make: (lab: Lab, length: Bytes) => Promise<Slow>,
): Promise<Row[]> {
  const wants = (row: string): boolean => setting.wants(section, row)
  if (![PLAYER, START, SEEK].some(wants)) return []
  setting.say(`${section}: preparing`)
  const samples = new Samples()
  const slow = await make(lab, setting.length)
  if (wants(PLAYER) || wants(START)) {
    setting.say(`annexfs: ${PLAYER}`)
    const { stalled, started } = await playOn(lab, slow, setting.plays)
    samples.add(PLAYER, 'annexfs', stalled)
    samples.add(PLAYER, 'a frame', UNSEEN)
    samples.add(START, 'annexfs', started)
  }
  if (wants(SEEK)) {
    setting.say(`annexfs: ${SEEK}`)
    const times = await seekOn(lab, slow, setting.length, setting.seeks)
    samples.add(SEEK, 'annexfs', mostOf(times))
    samples.add(SEEK, 'a piece and a round trip', seekBound(slow))
    setting.say(`seeks: ${inOrder(times)}`)
    const idle = await slow.idlePieces?.(setting.seeks)
    if (idle !== undefined) {
      samples.add(SEEK, 'a bare client that wants nothing else', mostOf(idle))
      setting.say(`pieces on an idle line: ${inOrder(idle)}`)
    }
  }
  return [PLAYER, START, SEEK]
    .filter(wants)
    .map((name) => samples.row({ section, name, unit: 'ms', better: 'less', target: 1 }))
    .filter((row) => row !== undefined)
}
