import type { Snapshot } from '../../../status/snapshot.js'
import type { Change } from '../delta.js'
import { changed } from './change.mjs'

/** Between two tries, in milliseconds, when the server turned us away; the browser tries by itself when it is gone. */
const AGAIN = 2_000
/** An event comes every second: after this many milliseconds without one, something is wrong. */
const SILENCE = 4_000

export interface Listener {
  news(snapshot: Snapshot): void
  /** `reason` is undefined while all is well, else a sentence; `since` is when the last news came, by our own clock. */
  state(reason: string | undefined, since: number | undefined): void
}

/** Follows the events of the server for as long as the page lives; rests while nobody sees the page. */
export function follow(listener: Listener): void {
  let source: EventSource | undefined
  let snapshot: Snapshot | undefined
  let heard: number | undefined
  let opened = performance.now()
  let timer: ReturnType<typeof setTimeout> | undefined
  let trouble: string | undefined

  const take = (next: Snapshot): void => {
    snapshot = next
    heard = performance.now()
    trouble = undefined
    listener.state(undefined, heard)
    listener.news(next)
  }

  const connect = (): void => {
    close()
    opened = performance.now()
    source = new EventSource('events')
    source.addEventListener('snapshot', (event) => take(JSON.parse(event.data as string) as Snapshot))
    source.addEventListener('change', (event) => {
      if (snapshot !== undefined) take(changed(snapshot, JSON.parse(event.data as string) as Change))
    })
    source.addEventListener('trouble', (event) => {
      trouble = (JSON.parse(event.data as string) as { reason: string }).reason
    })
    source.addEventListener('error', () => {
      trouble = 'The connection to annexfs is lost. Trying again …'
      listener.state(trouble, heard)
      // The browser gives up for good when it got any other answer than a stream.
      if (source?.readyState === EventSource.CLOSED) timer = setTimeout(connect, AGAIN)
    })
  }

  const close = (): void => {
    clearTimeout(timer)
    source?.close()
    source = undefined
  }

  document.addEventListener('visibilitychange', () => {
    if (document.hidden) close()
    else connect()
  })
  setInterval(() => {
    if (document.hidden) return
    const silent = performance.now() - Math.max(heard ?? 0, opened)
    if (trouble !== undefined) listener.state(trouble, heard)
    else if (silent > SILENCE) listener.state('annexfs does not answer. Waiting …', heard)
    // A connection that died without a word (a machine that slept) is never told to be over.
    if (silent > 5 * SILENCE && source?.readyState === EventSource.OPEN) connect()
  }, 500)
  connect()
}
