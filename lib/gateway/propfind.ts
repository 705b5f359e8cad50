import { isAnnexfsError } from '../errors.js'
import type { Content } from '../engine/content.js'
import type { DirNode, FileNode } from '../tree/tree.js'
import { contentType } from './content-type.js'
import { say, type Exchange } from './exchange.js'
import { escapeMarkup } from './html.js'
import { entriesOf, listed } from './listing.js'
import { sendText } from './outflow.js'
import { DAV, wantedProperties, type PropertyName, type Wanted } from './propfind-request.js'
import { encodePath } from './request-path.js'
import { followed } from './resolve.js'
import { expectedEtag, httpDate } from './validators.js'

const XML_HEADERS = {
  'Content-Type': 'application/xml; charset=utf-8',
  'Cache-Control': 'private, no-cache',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
}
const PROLOG = '<?xml version="1.0" encoding="utf-8"?>\n'

/** PROPFIND: what is known of a file, or of a folder and what is in it. Opens nothing, and asks no source. */
export async function answerPropfind(exchange: Exchange): Promise<void> {
  const { request, response, path, signal } = exchange
  const { depth } = request.headers
  if (depth !== '0' && depth !== '1') {
    refuseDepth(exchange, depth)
    return
  }
  const wanted = await readBody(exchange)
  if (wanted === undefined) return
  const found = await followed(exchange, path)
  if (found === undefined || (found.node.kind === 'file' && exchange.folder)) {
    say(exchange, 404, 'there is no such file')
    return
  }
  const entries = depth === '1' && found.node.kind === 'dir' ? await entriesOf(exchange, found.path) : []
  response.writeHead(207, XML_HEADERS)
  await sendText(response, signal, multistatus())

  async function* multistatus(): AsyncGenerator<string> {
    yield `${PROLOG}<D:multistatus xmlns:D="DAV:">\n`
    if (found !== undefined) yield responseFor(path, found.node, wanted ?? { kind: 'all' })
    const base = path === '/' ? '' : path
    for await (const { name, node } of listed(exchange, { asked: path, path: found?.path ?? path }, entries)) {
      // WebDAV has no links.
      if (node !== undefined) yield responseFor(`${base}/${name}`, node, wanted ?? { kind: 'all' })
    }
    yield '</D:multistatus>\n'
  }
}

/** No Depth means infinity: a whole tree, which no client wants of a tree of any size. */
function refuseDepth(exchange: Exchange, depth: string | string[] | undefined): void {
  exchange.response.setHeader('Connection', 'close')
  if (depth !== undefined && depth !== 'infinity') {
    say(exchange, 400, 'Depth must be 0 or 1')
    return
  }
  const body = `${PROLOG}<D:error xmlns:D="DAV:"><D:propfind-finite-depth/></D:error>\n`
  exchange.response.writeHead(403, { ...XML_HEADERS, 'Content-Length': Buffer.byteLength(body) })
  exchange.response.end(body)
}

async function readBody(exchange: Exchange): Promise<Wanted | undefined> {
  try {
    return await wantedProperties(exchange.request)
  } catch (error) {
    if (!isAnnexfsError(error, 'INVALID')) throw error
    // The rest of a body that is too long is not read.
    exchange.response.setHeader('Connection', 'close')
    say(exchange, 400, error.message)
    return undefined
  }
}

type Resource = DirNode | FileNode<Content>

/** One property, made when it is wanted; undefined when the resource has none. */
const PROPERTIES: Readonly<Record<string, (node: Resource, name: string) => string | undefined>> = {
  displayname: (_node, name) => xmlText(name),
  resourcetype: (node) => (node.kind === 'dir' ? '<D:collection/>' : ''),
  getlastmodified: (node) => httpDate(node.mtime),
  getcontentlength: (node) => (node.kind === 'file' && node.size !== undefined ? String(node.size) : undefined),
  getcontenttype: (node, name) => (node.kind === 'file' ? xmlText(contentType(name)) : undefined),
  getetag: (node) => {
    const etag = node.kind === 'file' ? expectedEtag(node.content) : undefined
    return etag === undefined ? undefined : escapeMarkup(etag)
  },
}

const ALL: readonly PropertyName[] = Object.keys(PROPERTIES).map((name) => ({ namespace: DAV, name }))

function responseFor(path: string, node: Resource, wanted: Wanted): string {
  const name = path.slice(path.lastIndexOf('/') + 1)
  const has: string[] = []
  const lacks: string[] = []
  for (const one of wanted.kind === 'some' ? wanted.names : ALL) {
    const make = one.namespace === DAV && Object.hasOwn(PROPERTIES, one.name) ? PROPERTIES[one.name] : undefined
    const value = make?.(node, name)
    if (value !== undefined) {
      has.push(wanted.kind === 'names' || value === '' ? `<D:${one.name}/>` : `<D:${one.name}>${value}</D:${one.name}>`)
    } else if (wanted.kind === 'some') {
      lacks.push(one.namespace === DAV ? `<D:${one.name}/>` : `<${one.name} xmlns="${xmlText(one.namespace)}"/>`)
    }
  }
  const href = `${path === '/' ? '' : encodePath(path)}${node.kind === 'dir' ? '/' : ''}`
  const found = has.length > 0 || lacks.length === 0 ? propstat(has, '200 OK') : ''
  return `<D:response><D:href>${escapeMarkup(href)}</D:href>${found}${
    lacks.length > 0 ? propstat(lacks, '404 Not Found') : ''
  }</D:response>\n`
}

function propstat(properties: readonly string[], status: string): string {
  return `<D:propstat><D:prop>${properties.join('')}</D:prop><D:status>HTTP/1.1 ${status}</D:status></D:propstat>`
}

/** Text for XML, which has no way at all to write most control characters. */
function xmlText(text: string): string {
  // oxlint-disable-next-line no-control-regex -- just what XML 1.0 excludes
  return escapeMarkup(text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd'))
}
