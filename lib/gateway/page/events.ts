import { AnnexfsError, reasonOf } from '../../errors.js'
import type { Milliseconds } from '../../space/space.js'
import type { Snapshot, Station } from '../../status/snapshot.js'
import type { ServerResponse } from 'node:http'
import { changeBetween } from './delta.js'

/*
 * Server-sent events (HTML Living Standard, 9.2) about one Station, to all who look. One timer and one snapshot serve
 * them all, and only while there is somebody. Whoever reads slower than we write misses changes, and gets a whole
 * snapshot when there is room again: nothing piles up.
 */

/** People can follow about one change a second. */
const INTERVAL: Milliseconds = 1_000
/** Browsers hold six connections to a host at most; this is several people with several browsers. */
const CLIENTS = 16
/** A snapshot is made from memory: one that takes longer tells that the process is in trouble, and that is news too. */
const SNAPSHOT_DEADLINE: Milliseconds = 5_000
/** Who takes nothing for this long has gone, or wants to hold us up. */
const STUCK: Milliseconds = 30_000

interface Client {
  readonly response: ServerResponse
  /** It has {@link EventStreams}' last snapshot, so a change is enough. */
  current: boolean
  lastTaken: Milliseconds
}

export interface EventStreams {
  /** No more can be opened now. */
  readonly full: boolean
  /** Streams into a response whose head was written already, until either side ends it. */
  open(response: ServerResponse): void
}

export function eventStreams(
  station: Station,
  options: { readonly interval?: Milliseconds; readonly clients?: number; readonly signal?: AbortSignal },
): EventStreams {
  const interval = options.interval ?? INTERVAL
  const most = options.clients ?? CLIENTS
  const clients = new Set<Client>()
  let timer: NodeJS.Timeout | undefined
  let last: Snapshot | undefined
  let running: Promise<Snapshot> | undefined

  options.signal?.addEventListener('abort', () => {
    for (const client of clients) client.response.end()
  })

  return {
    get full() {
      return clients.size >= most || options.signal?.aborted === true
    },
    open(response) {
      const client: Client = { response, current: false, lastTaken: performance.now() }
      clients.add(client)
      response.once('close', () => {
        clients.delete(client)
        if (clients.size > 0) return
        clearInterval(timer)
        timer = undefined
        last = undefined
      })
      // The browser's own pause before it connects again is three seconds or more.
      response.write(`retry: ${interval}\n\n`)
      if (timer === undefined) {
        timer = setInterval(() => void tell(), interval)
        void tell()
      } else if (last !== undefined) {
        send(client, last, undefined)
      }
    },
  }

  async function tell(): Promise<void> {
    let snapshot: Snapshot
    try {
      snapshot = await take()
    } catch (error) {
      const text = event('trouble', { reason: reasonOf(error) })
      for (const client of clients) write(client, text)
      return
    }
    if (clients.size === 0) return
    const change = last === undefined ? undefined : event('change', changeBetween(last, snapshot))
    last = snapshot
    for (const client of clients) send(client, snapshot, change)
  }

  /** One snapshot at a time: a Station that is slow is not asked again meanwhile. */
  async function take(): Promise<Snapshot> {
    running ??= station.snapshot().finally(() => (running = undefined))
    let late: NodeJS.Timeout | undefined
    const deadline = new Promise<never>((_resolve, reject) => {
      const reason = `no answer about the state for ${SNAPSHOT_DEADLINE / 1_000} s: the process is very busy, or hangs`
      late = setTimeout(() => reject(new AnnexfsError('TIMED_OUT', reason)), SNAPSHOT_DEADLINE)
    })
    try {
      return await Promise.race([running, deadline])
    } finally {
      clearTimeout(late)
    }
  }

  function send(client: Client, snapshot: Snapshot, change: string | undefined): void {
    client.current = write(client, client.current && change !== undefined ? change : event('snapshot', snapshot))
  }

  /** @returns false when the client has not taken what it got before. */
  function write(client: Client, text: string): boolean {
    if (!client.response.writableNeedDrain) {
      client.lastTaken = performance.now()
      client.response.write(text)
      return true
    }
    if (performance.now() - client.lastTaken > STUCK) client.response.destroy()
    return false
  }
}

/** JSON has no line ends of its own, so it is one line of data. */
function event(name: string, value: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(value)}\n\n`
}
