import { sourceKind } from '../engine/source-kind.js'
import { sourceNames } from '../engine/union-tree.js'
import { printable } from '../log/log.js'
import { shownUrl } from '../net/url.js'
import type { Snapshot } from './snapshot.js'

/**
 * SOURCEs of the command line as they may be shown: without user, password and query. A single one is the root.
 * @throws AnnexfsError for what is none.
 */
export async function shownSources(sources: readonly string[]): Promise<Snapshot['sources']> {
  const names = sourceNames(sources)
  return Promise.all(
    sources.map(async (source, index) => {
      const kind = await sourceKind(source)
      const shown = kind.kind === 'magnet' ? shownMagnet(kind.link) : 'path' in kind ? kind.path : shownUrl(source)
      return { name: sources.length === 1 ? '/' : `/${names[index] ?? ''}`, source: printable(shown), kind: kind.kind }
    }),
  )
}

/** Trackers of a magnet link may have a user's pass key in them. */
function shownMagnet(link: string): string {
  const topic = /[?&](xt=urn:bt[im]h:[0-9a-z]+)/i.exec(link)?.[1]
  return topic === undefined ? 'magnet:?…' : `magnet:?${topic}`
}
