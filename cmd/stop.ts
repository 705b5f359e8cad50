import type { ControlClient } from '../lib/control/client.js'
import { allControls } from '../lib/control/find.js'
import { AnnexfsError } from '../lib/errors.js'
import type { Milliseconds } from '../lib/space/space.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import { processEnded } from './process-end.js'
import { snapshotOf } from './snapshot.js'

/** Downloads are cut off and the cache is closed well within that. */
const PATIENCE: Milliseconds = 15_000

/** `annexfs stop [URL]` */
export const stopCommand: Command = {
  name: 'stop',
  summary: 'end an annexfs serve',
  usage: ['[URL]'],
  description:
    'Ends the annexfs serve (or ui) of yours that answers at URL, also one in the foreground, and returns when it has ' +
    'ended. Without URL: the one that is running. A mount is ended by annexfs unmount.',
  options: [],
  async run(given) {
    const [text, ...rest] = given.positional
    if (rest.length > 0) throw new AnnexfsError('USAGE', 'stop wants at most one URL')
    const clients = await allControls()
    try {
      const { client, pid } = chosen(await serving(clients), text)
      await client.request('stop', {})
      if (!(await processEnded(pid, PATIENCE))) {
        throw new AnnexfsError('TIMED_OUT', `process ${pid} was told to end, and has not for ${PATIENCE / 1000} s`)
      }
      return EXIT.ok
    } finally {
      for (const client of clients) client.close()
    }
  },
}

interface Serving {
  readonly client: ControlClient
  readonly url: string
  readonly pid: number
  readonly mountpoint: string | undefined
}

/** All that serve something over HTTP. */
async function serving(clients: readonly ControlClient[]): Promise<Serving[]> {
  const found: Serving[] = []
  for (const client of clients) {
    const snapshot = await snapshotOf(client)
    if (snapshot?.gateway === undefined) continue
    found.push({ client, url: snapshot.gateway, pid: snapshot.pid, mountpoint: snapshot.mountpoint })
  }
  return found
}

function chosen(all: readonly Serving[], text: string | undefined): Serving {
  const alone = all.filter(({ mountpoint }) => mountpoint === undefined)
  const running = alone.map(({ url }) => url).join(', ')
  if (text === undefined) {
    const [only, ...others] = alone
    if (only === undefined) throw new AnnexfsError('NOT_FOUND', 'no annexfs serve of yours is running')
    if (others.length > 0) throw new AnnexfsError('USAGE', `say which one is to end: ${running}`)
    return only
  }
  const wanted = urlOf(text)
  const samePort = all.filter(({ url }) => portOf(new URL(url)) === portOf(wanted))
  const found = samePort.find(({ url }) => new URL(url).hostname === wanted.hostname) ?? samePort[0]
  if (found === undefined) {
    const others = running === '' ? 'none is running' : `there is ${running}`
    throw new AnnexfsError('NOT_FOUND', `no annexfs serve of yours answers at ${text}; ${others}`)
  }
  if (found.mountpoint !== undefined) {
    throw new AnnexfsError('USAGE', `${text} is served by a mount: annexfs unmount ${found.mountpoint} ends it`)
  }
  return found
}

/** Of `http://127.0.0.1:8080/`, and of `localhost:8080`. */
function urlOf(text: string): URL {
  const whole = text.includes('://') ? text : `http://${text}`
  if (!URL.canParse(whole))
    throw new AnnexfsError('USAGE', `stop wants a URL such as http://127.0.0.1:8080/, not ${text}`)
  return new URL(whole)
}

function portOf({ port }: URL): number {
  return port === '' ? 80 : Number(port)
}
