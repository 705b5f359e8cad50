import { randomBytes } from 'node:crypto'
import { AnnexfsError, isAnnexfsError, reasonOf } from '../errors.js'
import { readInto } from '../engine/read-into.js'
import type { OpenFile } from '../engine/volume.js'
import type { ByteRange, Bytes } from '../space/space.js'
import { contentType } from './content-type.js'
import { withDeadline } from '../deadline.js'
import { patience, say, type Exchange } from './exchange.js'
import { Outflow } from './outflow.js'
import { selectRanges } from './ranges.js'
import type { Found } from './resolve.js'
import { etagOf, evaluate, httpDate, rangeCounts, type Validators } from './validators.js'

/** What one read asks for: two of FUSE's, since a write to a socket costs more than one to the kernel's cache. */
const STEP: Bytes = 256 * 1024

/** Bytes of a repository are a stranger's: a page among them is shown, but runs nothing and belongs to no site. */
const SANDBOX = 'sandbox'
/**
 * Sound and films run nothing, and nosniff keeps them what they are. In a sandbox Chromium does not play them: its player
 * asks for the bytes as a page of no site, which is not to have them.
 */
const PLAYER = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"

/** GET and HEAD of a file: what is asked of it, from where the reads bring it. */
export async function answerFile(exchange: Exchange, found: Found): Promise<void> {
  const { node } = found
  if (node.kind !== 'file') return
  const { volume } = exchange
  const file = await withDeadline(
    patience(exchange, `opening ${found.path}`),
    (abort) => volume.open(node, found.path, abort),
    (late) => late.close(),
  )
  try {
    const etag = etagOf(node.content, file.contentId)
    await answerOpen(exchange, file, { etag, lastModified: httpDate(node.mtime) })
  } finally {
    file.close()
  }
}

async function answerOpen(exchange: Exchange, file: OpenFile, validators: Validators): Promise<void> {
  const { request, response, path } = exchange
  const { headers, method } = request
  response.setHeader('ETag', validators.etag)
  response.setHeader('Last-Modified', validators.lastModified)
  response.setHeader('Accept-Ranges', 'bytes')
  // A ref may move: what a cache has is to be asked for again, and then costs nothing.
  response.setHeader('Cache-Control', 'private, no-cache')
  const type = contentType(path.slice(path.lastIndexOf('/') + 1))
  response.setHeader('Content-Security-Policy', /^(audio|video)\//.test(type) ? PLAYER : SANDBOX)
  const outcome = evaluate(headers, validators)
  if (outcome === 'failed') {
    say(exchange, 412, 'the file is not what the request expects')
    return
  }
  if (outcome === 'not-modified') {
    response.writeHead(304)
    response.end()
    return
  }
  const asked = method === 'GET' && rangeCounts(headers, validators) ? headers.range : undefined
  const selection = selectRanges(asked, file.size)
  if (selection === 'unsatisfiable') {
    say(exchange, 416, 'the file has no such range, or too many were asked for', {
      'Content-Range': `bytes */${file.size}`,
    })
    return
  }
  if (selection === 'whole') {
    await send(exchange, file, 200, type, [{ head: '', range: { start: 0, end: file.size } }])
    return
  }
  const [only, ...others] = selection
  if (only !== undefined && others.length === 0) {
    response.setHeader('Content-Range', contentRange(only, file.size))
    await send(exchange, file, 206, type, [{ head: '', range: only }])
    return
  }
  const boundary = randomBytes(18).toString('base64url')
  const parts = selection.map((range, index) => ({
    head: `${index === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Type: ${type}\r\nContent-Range: ${contentRange(range, file.size)}\r\n\r\n`,
    range,
  }))
  const tail = { head: `\r\n--${boundary}--\r\n`, range: { start: 0, end: 0 } }
  await send(exchange, file, 206, `multipart/byteranges; boundary=${boundary}`, [...parts, tail])
}

function contentRange({ start, end }: ByteRange, size: Bytes): string {
  return `bytes ${start}-${end - 1}/${size}`
}

/** Some text and then some bytes of the file. */
interface Part {
  readonly head: string
  readonly range: ByteRange
}

/**
 * The first bytes are there before the answer begins, so that what cannot be had at all has a status that says so. What
 * fails later ends the connection: the client sees that the length that was promised did not come.
 */
async function send(
  exchange: Exchange,
  file: OpenFile,
  status: number,
  type: string,
  parts: readonly Part[],
): Promise<void> {
  const { request, response, signal } = exchange
  const length = parts.reduce((sum, { head, range }) => sum + head.length + range.end - range.start, 0)
  const head = (): void => {
    response.writeHead(status, { 'Content-Type': type, 'Content-Length': length })
  }
  if (request.method === 'HEAD') {
    head()
    response.end()
    return
  }
  const chunks = read(exchange, file, parts)
  try {
    const first = await chunks.next()
    head()
    const out = new Outflow(response, signal)
    for (let next = first; next.done !== true; next = await chunks.next()) await out.write(next.value)
    await out.end()
  } finally {
    await chunks.return(undefined)
  }
}

/** Two buffers in turns: one is filled while the other leaves. */
async function* read(
  exchange: Exchange,
  file: OpenFile,
  parts: readonly Part[],
): AsyncGenerator<Uint8Array | string, undefined> {
  const longest = Math.min(STEP, Math.max(...parts.map(({ range }) => range.end - range.start)))
  const buffers = [Buffer.allocUnsafeSlow(longest), Buffer.allocUnsafeSlow(longest)] as const
  let turn = 0
  for (const { head, range } of parts) {
    if (head !== '') yield head
    for (let at = range.start; at < range.end;) {
      const count = Math.min(STEP, range.end - at)
      const bytes = await readExactly(exchange, file, at, buffers[turn++ % 2 === 0 ? 0 : 1].subarray(0, count))
      at += count
      if (range.start === 0 && at === file.size) await settled(exchange, file)
      yield bytes
    }
  }
}

/** @throws AnnexfsError what the read throws, TIMED_OUT at the deadline, CORRUPT for a wrong count. */
async function readExactly(exchange: Exchange, file: OpenFile, offset: Bytes, own: Uint8Array): Promise<Uint8Array> {
  const { path } = exchange
  const count = await withDeadline(patience(exchange, `reading ${path} at ${offset}`), (abort) =>
    readInto(file, offset, own, abort),
  )
  if (count === own.length) return own
  throw new AnnexfsError('CORRUPT', `the reader gave ${count} bytes where ${own.length} were to come`)
}

/** Who gets all of a file must not take wrong content for right: its end is held back until the check is over. */
async function settled(exchange: Exchange, file: OpenFile): Promise<void> {
  const { path, log } = exchange
  try {
    await withDeadline(patience(exchange, `checking ${path}`), () => file.settled?.())
  } catch (error) {
    if (!isAnnexfsError(error, 'TIMED_OUT')) throw error
    log.debug(`${path} was sent before its check was over`, { reason: reasonOf(error) })
  }
}
