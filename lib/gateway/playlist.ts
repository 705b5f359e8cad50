import { setImmediate as turn } from 'node:timers/promises'
import type { Content } from '../engine/content.js'
import type { Entry } from '../tree/tree.js'
import { isMedia } from './content-type.js'
import type { Exchange } from './exchange.js'
import { entriesOf, listed } from './listing.js'
import { sendText } from './outflow.js'
import { encodePath } from './request-path.js'
import { followed } from './resolve.js'

/** What a player can show in a list, and what a folder of any shape may cost. */
const MOST_TRACKS = 10_000
const MOST_ENTRIES = 100_000
const DEEPEST = 16
/** Looked at between two turns of the event loop. */
const ENTRIES_A_TURN = 2_000

/**
 * The audio and video files of the folder at `path` and those below it as an M3U playlist. False when there is no such
 * folder.
 */
export async function answerPlaylist(exchange: Exchange, path: string): Promise<boolean> {
  if (exchange.query !== 'm3u' && path === exchange.path) return false
  const found = path === '' ? undefined : await followed(exchange, path)
  if (found?.node.kind !== 'dir') return false
  const { request, response, signal } = exchange
  response.writeHead(200, { 'Content-Type': 'audio/x-mpegurl; charset=utf-8', 'Cache-Control': 'private, no-cache' })
  if (request.method === 'HEAD') response.end()
  else await sendText(response, signal, playlist(exchange, found.path))
  return true
}

/** Whole URLs, for a list that was saved is opened from anywhere. */
async function* playlist(exchange: Exchange, root: string): AsyncGenerator<string> {
  yield '#EXTM3U\n'
  let tracks = 0
  for await (const { path, name } of mediaBelow(exchange, root)) {
    if (tracks++ >= MOST_TRACKS) {
      yield `# the first ${MOST_TRACKS} only\n`
      return
    }
    yield `#EXTINF:-1,${name.replace(/\p{Cc}/gu, ' ')}\n${exchange.origin}${encodePath(path)}\n`
  }
}

interface Track {
  readonly path: string
  readonly name: string
}

/** Depth first, in the order of names. Links to folders are not entered: they may lead in circles. */
async function* mediaBelow(exchange: Exchange, root: string): AsyncGenerator<Track> {
  let seen = 0
  const folders = [{ path: root, depth: 0 }]
  for (let folder = folders.pop(); folder !== undefined && seen < MOST_ENTRIES; folder = folders.pop()) {
    const entries = await entriesOf(exchange, folder.path)
    const inner: typeof folders = []
    const base = folder.path === '/' ? '' : folder.path
    const media: Entry<Content>[] = []
    for (const entry of entries) {
      const { name, node } = entry
      if (++seen > MOST_ENTRIES) return
      if (seen % ENTRIES_A_TURN === 0) await turn()
      if (node.kind !== 'dir' && isMedia(name)) media.push(entry)
      if (node.kind === 'dir' && folder.depth < DEEPEST)
        inner.push({ path: `${base}/${name}`, depth: folder.depth + 1 })
    }
    for await (const { name, node } of listed(exchange, { asked: folder.path, path: folder.path }, media)) {
      if (node?.kind === 'file') yield { path: `${base}/${name}`, name }
    }
    folders.push(...inner.reverse())
  }
}
