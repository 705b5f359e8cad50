import { createHash } from 'node:crypto'
import type { Exchange } from './exchange.js'
import { isMedia } from './content-type.js'
import { shownName } from './html.js'
import { entriesOf, listed, type Listed } from './listing.js'
import { sendText } from './outflow.js'
import { encodePart } from './request-path.js'
import { httpDate } from './validators.js'

const STYLE = `
:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;margin:1rem auto;max-width:70rem;padding:0 1rem}
h1{font-size:1.15rem;font-weight:600;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}
th{font-weight:600;text-align:left}
td,th{border-bottom:1px solid #8884;padding:.25rem .5rem;vertical-align:top}
td:first-child{overflow-wrap:anywhere}
.n{font-variant-numeric:tabular-nums;text-align:right;white-space:nowrap}
time{white-space:nowrap}
@media(max-width:40rem){.d{display:none}}
`

/** Nothing but our own style; names of files are a stranger's. */
const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Whether there is anything to play is looked for among the first names. */
const MOST_LOOKED_AT = 5_000

/** GET and HEAD of a folder: a page of links. `real` is where it lies, after symbolic links. */
export async function answerFolder(exchange: Exchange, real: string): Promise<void> {
  const { request, response, signal } = exchange
  const entries = await entriesOf(exchange, real)
  response.writeHead(200, {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Security-Policy': POLICY,
    'Cache-Control': 'private, no-cache',
  })
  if (request.method === 'HEAD') {
    response.end()
    return
  }
  const media = entries.slice(0, MOST_LOOKED_AT).some(({ name }) => isMedia(name))
  await sendText(
    response,
    signal,
    page(exchange, listed(exchange, { asked: exchange.path, path: real }, entries), media),
  )
}

async function* page(exchange: Exchange, entries: AsyncIterable<Listed>, media: boolean): AsyncGenerator<string> {
  const { path, hasPage } = exchange
  const links = [
    ...(path === '/' ? [] : ['<a href="../">Up</a>']),
    ...(media ? ['<a href="?m3u">Playlist</a>'] : []),
    ...(hasPage ? ['<a href="/-/">Status</a>'] : []),
  ]
  const title = shownName(path === '/' ? '/' : `${path}/`)
  yield `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
<h1><bdi>${title}</bdi></h1>
${links.length === 0 ? '' : `<nav>${links.join(' · ')}</nav>\n`}<table>
<thead><tr><th scope="col">Name</th><th scope="col" class="n">Size</th><th scope="col" class="d">Changed</th></tr></thead>
<tbody>
`
  for await (const entry of entries) yield row(entry, path)
  yield '</tbody>\n</table>\n</body>\n</html>\n'
}

function row({ name, node, mtime }: Listed, folder: string): string {
  const date = new Date(httpDate(mtime)).toISOString()
  const slash = node?.kind === 'dir' ? '/' : ''
  // Our own pages are at /-/ as well.
  const href = folder === '/' && name === '-' ? '%2D' : encodePart(name)
  const shown = `<bdi>${shownName(name)}</bdi>${slash}`
  const size = node?.kind !== 'file' ? '' : node.size === undefined ? '?' : shownSize(node.size)
  const link = node === undefined ? `${shown} (a link, not followed here)` : `<a href="./${href}${slash}">${shown}</a>`
  return `<tr><td>${link}</td><td class="n">${size}</td><td class="d"><time datetime="${date}">${date.slice(0, 10)}</time></td></tr>\n`
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

function shownSize(bytes: number): string {
  const unit = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)))
  const value = bytes / 1024 ** unit
  return `<span title="${bytes} bytes">${value.toFixed(unit === 0 || value >= 100 ? 0 : 1)} ${UNITS[unit] ?? ''}</span>`
}
