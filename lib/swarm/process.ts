/**
 * The swarm's own process: everything that speaks to peers, trackers and the DHT. It is a child of the mount, told what
 * to do by messages, and ends with it. Whatever goes wrong here ends this process, never the mount.
 */
import { openPieceStore } from '../cache/open.js'
import { reasonOf } from '../errors.js'
import type { Log, LogFields } from '../log/log.js'
import { installSafeBencode } from '../torrent/bencode-install.js'
import type { Host } from './host.js'
import type { ProcessOptions, ToChild, ToParent } from './messages.js'

const MOST_QUESTIONS = 1000

if (process.send === undefined) {
  process.stderr.write('this program is started by annexfs\n')
  process.exit(2)
}

const send = (message: ToParent): void => {
  if (process.connected) process.send?.(message, () => undefined)
}

const log: Log = {
  debug: (message, fields = {}) => report('debug', message, fields),
  info: (message, fields = {}) => report('info', message, fields),
  warn: (message, fields = {}) => report('warn', message, fields),
  error: (message, fields = {}) => report('error', message, fields),
}

function report(level: 'debug' | 'info' | 'warn' | 'error', message: string, fields: LogFields): void {
  send({ type: 'log', level, message, fields })
}

function die(error: unknown): void {
  const where = error instanceof Error ? (error.stack?.split('\n')[1]?.trim() ?? '') : ''
  process.stderr.write(`swarm process: ${reasonOf(error)} ${where}\n`, () => process.exit(70))
}

process.on('uncaughtException', die)
process.on('unhandledRejection', die)
process.on('disconnect', () => process.exit(0))
// The terminal's Ctrl-C goes to the whole group: the mount decides when this process ends.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => undefined)

const questions = new Map<number, (addresses: readonly string[]) => void>()
let lastQuestion = 0

async function allowed(host: string): Promise<readonly string[]> {
  if (questions.size >= MOST_QUESTIONS) return []
  const id = ++lastQuestion
  return await new Promise((resolve) => {
    questions.set(id, resolve)
    send({ type: 'resolve', id, host })
  })
}

let starting: Promise<Host> | undefined

async function start(options: ProcessOptions): Promise<Host> {
  // No memory tier: what is read here goes to peers, and a piece's buffer is used again once it is stored.
  const store = openPieceStore({ ...options.cache, log, memoryBytes: 0 })
  await installSafeBencode()
  const { Host: Loaded } = await import('./host.js')
  return new Loaded({ options, store: await store, send, allowed, log })
}

/** In the order of arrival: every message waits for the start, and so for those before it. */
process.on('message', (message: ToChild) => {
  if (message.type === 'start') {
    starting = start(message.options)
    return
  }
  if (message.type === 'ping') {
    send({ type: 'pong' })
    return
  }
  if (message.type === 'resolved') {
    questions.get(message.id)?.(message.addresses)
    questions.delete(message.id)
    return
  }
  starting?.then((host) => act(host, message)).catch(die)
})

function act(host: Host, message: ToChild): void {
  switch (message.type) {
    case 'add':
      return host.add(message.torrent)
    case 'remove':
      return host.remove(message.infohash)
    case 'want': {
      const session = host.session(message.infohash)
      if (session === undefined) return failed(message, 'the torrent is not active')
      return session.want(message.index, message.urgency)
    }
    case 'cancel':
      return host.session(message.infohash)?.cancel(message.index)
    case 'send': {
      const session = host.session(message.infohash)
      if (session === undefined) return failed(message, 'the torrent is not active')
      return session.send(message.index, message.urgency)
    }
    case 'metadata':
      host.resolve(message.id, message.infohash, message.trackers, message.peers).catch(die)
      return undefined
    case 'metadata-cancel':
      return host.cancelResolve(message.id)
    case 'status':
      return send({ type: 'status', id: message.id, status: host.status() })
    case 'stop':
      host.close()
      // Trackers are told that we leave, if they take it at once.
      setTimeout(() => process.exit(0), 100)
      return undefined
    default:
      return undefined
  }
}

function failed(message: { readonly infohash: string; readonly index: number }, reason: string): void {
  send({ type: 'failed', infohash: message.infohash, index: message.index, reason })
}
