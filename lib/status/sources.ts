import { sourceKind } from '../engine/source-kind.js'
import { sourceNames } from '../engine/union-tree.js'
import { reasonOf } from '../errors.js'
import { printable } from '../log/log.js'
import { shownUrl } from '../net/url.js'
import type { Snapshot } from './snapshot.js'

/** SOURCEs of the command line as they may be shown: without user, password and query. A single one is the root. */
export async function shownSources(sources: readonly string[]): Promise<Snapshot['sources']> {
  const names = sourceNames(sources)
  return Promise.all(
    sources.map(async (source, index) => {
      const name = sources.length === 1 ? '/' : `/${names[index] ?? ''}`
      const { shown, kind } = await shownSource(source)
      return { name, source: printable(shown), kind }
    }),
  )
}

async function shownSource(source: string): Promise<{ readonly shown: string; readonly kind: string }> {
  try {
    const found = await sourceKind(source)
    const { kind } = found
    if (kind === 'magnet') return { kind, shown: shownMagnet(found.link) }
    return { kind, shown: 'path' in found ? found.path : shownUrl(source) }
  } catch (error) {
    // It was opened before: what it was is gone, or cannot be looked at any more.
    return { kind: `gone: ${reasonOf(error)}`, shown: shownUrl(source) }
  }
}

/** Trackers of a magnet link may have a user's pass key in them. */
function shownMagnet(link: string): string {
  const topic = /[?&](xt=urn:bt[im]h:[0-9a-z]+)/i.exec(link)?.[1]
  return topic === undefined ? 'magnet:?…' : `magnet:?${topic}`
}
