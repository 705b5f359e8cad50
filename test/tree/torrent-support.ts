import { setTimeout as sleep } from 'node:timers/promises'
import type { Content } from '../../lib/engine/content.js'
import type { Log } from '../../lib/log/log.js'
import { TorrentFolder, type TorrentFolderOptions } from '../../lib/tree/torrent-folder.js'
import type { Tree } from '../../lib/tree/tree.js'

export const never = new AbortController().signal

/** Facts in memory: what is kept on disk otherwise. */
export class MemoryFacts {
  readonly saved = new Map<string, Buffer>()

  loadMetainfo(infohash: string): Promise<Buffer | undefined> {
    return Promise.resolve(this.saved.get(infohash))
  }

  saveMetainfo(infohash: string, bytes: Buffer): Promise<void> {
    this.saved.set(infohash, bytes)
    return Promise.resolve()
  }
}

/** A log whose warnings can be counted. */
export function recordingLog(): Log & { readonly warnings: string[] } {
  const warnings: string[] = []
  const nothing = (): void => undefined
  return {
    warnings,
    debug: nothing,
    info: nothing,
    warn: (message, fields) =>
      warnings.push(`${message}: ${String(fields?.['file'] ?? '')} ${String(fields?.['reason'] ?? '')}`),
    error: (message, fields) => warnings.push(`${message}: ${String(fields?.['reason'] ?? '')}`),
  }
}

/** Opens a torrent folder that is closed when the test ends. */
export async function openFolder(
  t: { after(done: () => Promise<void>): void },
  folder: string,
  options: Partial<TorrentFolderOptions> = {},
): Promise<TorrentFolder> {
  const tree = await TorrentFolder.open({
    folder,
    log: recordingLog(),
    facts: new MemoryFacts(),
    resolveMagnet: () => Promise.reject(new Error('no peers')),
    ...options,
  })
  t.after(() => tree.close())
  return tree
}

export async function names(tree: Tree<Content>, path = '/'): Promise<string[]> {
  return (await tree.list(path, never)).map(({ name }) => name).sort()
}

/** Every path of the tree, folders with a slash at their end. */
export async function walk(tree: Tree<Content>, path = ''): Promise<string[]> {
  const paths: string[] = []
  for (const { name, node } of await tree.list(path === '' ? '/' : path, never)) {
    const below = `${path}/${name}`
    if (node.kind === 'dir') paths.push(`${below}/`, ...(await walk(tree, below)))
    else paths.push(below)
  }
  return paths.sort()
}

/** Waits until `holds`, at most `limit` milliseconds; then asks once more, for its failure to be seen. */
export async function until(holds: () => boolean | Promise<boolean>, limit = 60_000): Promise<void> {
  const end = performance.now() + limit
  while (performance.now() < end) {
    if (await holds()) return
    await sleep(20)
  }
  if (!(await holds())) throw new Error(`not within ${limit} ms: ${holds.toString()}`)
}
