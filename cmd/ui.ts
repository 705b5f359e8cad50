import { spawn } from 'node:child_process'
import type { ControlClient } from '../lib/control/client.js'
import { allControls, controlOf } from '../lib/control/find.js'
import { AnnexfsError } from '../lib/errors.js'
import { printable } from '../lib/log/log.js'
import type { Snapshot } from '../lib/status/snapshot.js'
import { EXIT } from './exit-codes.js'
import { GATEWAY_OPTIONS, LISTEN_OPTION } from './gateway-options.js'
import type { Command } from './help.js'
import { insideWhichMount } from './inside.js'
import { SOURCE_OPTIONS, type Given } from './options.js'
import { serve } from './serve.js'
import { snapshotOf } from './snapshot.js'

/** `annexfs ui [MOUNTPOINT | SOURCE...]` */
export const uiCommand: Command = {
  name: 'ui',
  summary: 'open the page that shows what a mount is doing',
  usage: ['[MOUNTPOINT] [--no-open]', 'SOURCE... [--listen 127.0.0.1:0] [options]'],
  description:
    'Prints the address of the page, and opens it in your browser where there is a desktop. Without an argument: of ' +
    'what you have running; a mount has a page when it was made with --listen. With SOURCEs: serves them, as annexfs ' +
    'serve does, until Ctrl-C.',
  options: [
    { name: 'no-open', help: 'only print the address' },
    { ...LISTEN_OPTION, help: 'with SOURCEs: where to listen; port 0 takes any', fallback: '127.0.0.1:0' },
    ...GATEWAY_OPTIONS,
    ...SOURCE_OPTIONS,
  ],
  async run(given) {
    const [path, ...more] = given.positional
    if (path === undefined) return showOne(await running(), given)
    const mount = more.length === 0 ? await insideWhichMount(path) : undefined
    if (mount === undefined) return serve(given, (url) => show(pageAt(url), given))
    const snapshot = await ask(await controlOf(mount.mountpoint))
    if (snapshot?.gateway === undefined) {
      throw new AnnexfsError(
        'NOT_FOUND',
        `the mount at ${mount.mountpoint} serves no page: mount it with --listen 127.0.0.1:8080 (annexfs status tells ` +
          'the same in the terminal)',
      )
    }
    show(pageAt(snapshot.gateway), given)
    return EXIT.ok
  },
}

/** The page of the gateway at `gateway`, by an address that a browser of this machine can open. */
export function pageAt(gateway: string): string {
  const url = new URL('/-/', gateway)
  // What listens on every address is reached by the nearest.
  if (url.hostname === '0.0.0.0') url.hostname = '127.0.0.1'
  if (url.hostname === '[::]') url.hostname = '[::1]'
  return url.href
}

async function running(): Promise<Snapshot[]> {
  const snapshots = await Promise.all((await allControls()).map((client) => ask(client)))
  return snapshots.filter((one) => one !== undefined)
}

async function ask(client: ControlClient): Promise<Snapshot | undefined> {
  try {
    return await snapshotOf(client)
  } finally {
    client.close()
  }
}

function showOne(snapshots: readonly Snapshot[], given: Given): number {
  const pages = snapshots.flatMap(({ gateway, mountpoint, sources }) =>
    gateway === undefined
      ? []
      : [{ url: pageAt(gateway), of: mountpoint ?? sources.map(({ source }) => source).join(', ') }],
  )
  const [first, ...others] = pages
  if (first === undefined) {
    throw new AnnexfsError(
      'NOT_FOUND',
      snapshots.length === 0
        ? 'nothing of yours is running: start with annexfs ui SOURCE, or annexfs mount --listen 127.0.0.1:8080'
        : 'what you have running serves no page: mount it with --listen 127.0.0.1:8080',
    )
  }
  if (others.length === 0) show(first.url, given)
  // Which one is meant is not ours to guess.
  else for (const { url, of } of pages) process.stdout.write(`${url} ${printable(of)}\n`)
  return EXIT.ok
}

function show(url: string, given: Given): void {
  process.stdout.write(`${url}\n`)
  const { DISPLAY, WAYLAND_DISPLAY } = process.env
  const desktop = (DISPLAY ?? '') !== '' || (WAYLAND_DISPLAY ?? '') !== ''
  if (given.has('no-open') || !desktop) return
  const opener = spawn('xdg-open', [url], { detached: true, stdio: 'ignore' })
  opener.once('error', (error) => {
    process.stderr.write(`annexfs: the browser could not be opened (xdg-open: ${printable(error.message)})\n`)
  })
  opener.unref()
}
