import { allControls, controlOf } from '../lib/control/find.js'
import type { ControlClient } from '../lib/control/client.js'
import { AnnexfsError, isAnnexfsError } from '../lib/errors.js'
import type { Snapshot } from '../lib/status/snapshot.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import { insideWhichMount } from './inside.js'
import { snapshotOf } from './snapshot.js'
import { statusText } from './status-text.js'
import { parseTime } from './units.js'

const WIDTH = 80
const NARROWEST = 60
const WIDEST = 200

/** `annexfs status [MOUNTPOINT]` */
export const statusCommand: Command = {
  name: 'status',
  summary: 'show what a mount, or each of yours, is doing',
  usage: ['[MOUNTPOINT] [--watch] [--json]'],
  description:
    'Shows sources, cache, where bytes come from and how fast, files that are open, what each waiting read waits for, ' +
    'BitTorrent peers, and the last errors; of the mount that MOUNTPOINT lies in, or of all that you have running. ' +
    'With --watch again and again: in place on a terminal, else one after the other. With --json as JSON, one line ' +
    'for each (doc/CONTROL.md tells the fields).',
  options: [
    { name: 'watch', short: 'w', help: 'go on until Ctrl-C' },
    { name: 'interval', value: 'TIME', help: 'how often --watch looks', fallback: '1s' },
    { name: 'json', help: 'for programs' },
  ],
  async run(given) {
    const [path, ...rest] = given.positional
    if (rest.length > 0) throw new AnnexfsError('USAGE', 'status wants at most one MOUNTPOINT')
    const every = parseTime('--interval', given.get('interval') ?? '')
    const show = given.has('json') ? showJson : showText
    const clients = path === undefined ? await allControls() : [await controlAt(path)]
    try {
      if (clients.length === 0) {
        process.stderr.write('annexfs: nothing of yours is running\n')
        return EXIT.notFound
      }
      if (given.has('watch')) await watch(clients, every, show)
      else {
        const asked = await Promise.all(clients.map((client) => snapshotOf(client)))
        const snapshots = asked.filter((snapshot) => snapshot !== undefined)
        process.stdout.write(show(snapshots, process.stdout.columns))
      }
      return EXIT.ok
    } finally {
      for (const client of clients) client.close()
    }
  },
}

async function controlAt(path: string): Promise<ControlClient> {
  const found = await insideWhichMount(path)
  if (found === undefined) throw new AnnexfsError('NOT_FOUND', `${path} is not there, or is not in a mount of annexfs`)
  return controlOf(found.mountpoint)
}

type Show = (snapshots: readonly Snapshot[], width: number | undefined, height?: number) => string

function showJson(snapshots: readonly Snapshot[]): string {
  return snapshots.map((snapshot) => `${JSON.stringify(snapshot)}\n`).join('')
}

function showText(snapshots: readonly Snapshot[], width = WIDTH, height?: number): string {
  const columns = Math.min(WIDEST, Math.max(NARROWEST, width))
  const rows = height === undefined ? undefined : Math.max(8, Math.floor((height - 1) / snapshots.length))
  return snapshots.map((snapshot) => statusText(snapshot, columns, rows)).join(`${'-'.repeat(columns)}\n`)
}

/** Until Ctrl-C, or until none of them runs any more. */
async function watch(clients: readonly ControlClient[], every: number, show: Show): Promise<void> {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  process.once('SIGTERM', () => stop.abort())
  const latest = new Map<ControlClient, Snapshot>()
  const redraw = (): void => {
    const { stdout } = process
    const snapshots = clients.flatMap((client) => latest.get(client) ?? [])
    if (snapshots.length === 0 || stdout.writableNeedDrain) return
    const text = show(snapshots, stdout.columns, stdout.isTTY ? stdout.rows : undefined)
    // Line by line over what was there, then away with the rest: clearing first would flicker.
    stdout.write(stdout.isTTY ? `\x1b[H${text.replaceAll('\n', '\x1b[K\n')}\x1b[J` : `${text}\n`)
  }
  if (process.stdout.isTTY) process.stdout.write('\x1b[2J')
  // Ctrl-C is echoed where the cursor is: the shell goes on below that.
  stop.signal.addEventListener('abort', () => process.stdout.write(process.stdout.isTTY ? '\n' : ''))
  await Promise.all(
    clients.map(async (client) => {
      const event = (value: unknown): void => {
        latest.set(client, value as Snapshot)
        if (clients.every((one) => latest.has(one))) redraw()
      }
      try {
        await client.request('subscribe', { every }, { signal: stop.signal, event })
      } catch (error) {
        latest.delete(client)
        if (!isAnnexfsError(error, 'ABORTED') && !isAnnexfsError(error, 'UNAVAILABLE')) throw error
      }
    }),
  )
}
