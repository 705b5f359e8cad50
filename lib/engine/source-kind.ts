import { readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'

/** What a SOURCE of the command line is. */
export type SourceKind =
  | { readonly kind: 'repository'; readonly path: string }
  | { readonly kind: 'clone-url'; readonly url: string }
  | { readonly kind: 'torrent-url'; readonly url: string }
  | { readonly kind: 'torrent-file'; readonly path: string }
  | { readonly kind: 'torrent-folder'; readonly path: string }
  | { readonly kind: 'magnet'; readonly link: string }

const CLONE_URL = /^(https?|ssh|git|file):\/\//i
/** `host:path` or `user@host:path`, as git and scp read it. */
const SCP_STYLE = /^([\w.-]+@)?\w[\w.-]*:(?!\/\/|:)\S/
/** How deep a folder is searched for metainfo before we say that there is none. */
const SEARCH_DEPTH = 3

/**
 * Tells a SOURCE's kind by looking at it.
 * @throws AnnexfsError NOT_FOUND when there is nothing there, INVALID when it is neither a repository nor torrents.
 */
export async function sourceKind(source: string): Promise<SourceKind> {
  if (source === '') throw new AnnexfsError('USAGE', 'a SOURCE is empty')
  if (/^magnet:/i.test(source)) return { kind: 'magnet', link: source }
  if (CLONE_URL.test(source)) {
    const torrent = /^https?:/i.test(source) && /\.torrent([?#]|$)/i.test(source)
    return torrent ? { kind: 'torrent-url', url: source } : { kind: 'clone-url', url: source }
  }
  const path = resolve(source)
  let stats
  try {
    stats = await stat(path)
  } catch (error) {
    if (systemCode(error) === 'ENOENT' && SCP_STYLE.test(source)) return { kind: 'clone-url', url: source }
    if (systemCode(error) === 'ENOTCONN') {
      const what = 'it lies in a mount whose process is dead; annexfs unmount clears one of annexfs'
      throw new AnnexfsError('NOT_FOUND', `cannot look at SOURCE ${source}: ${what}`, { cause: error })
    }
    const code = systemCode(error) === 'ENOENT' ? 'NOT_FOUND' : 'SYSTEM'
    throw new AnnexfsError(code, `cannot look at SOURCE ${source}: ${reasonOf(error)}`, { cause: error })
  }
  if (stats.isFile()) {
    if (/\.(torrent|magnet)$/i.test(path)) return { kind: 'torrent-file', path }
    throw neither(source, 'it is a file, and its name does not end in .torrent or .magnet')
  }
  if (!stats.isDirectory()) throw neither(source, 'it is neither a folder nor a file')
  if (await isRepository(path)) return { kind: 'repository', path }
  if (await holdsMetainfo(path, SEARCH_DEPTH)) return { kind: 'torrent-folder', path }
  throw neither(source, 'there is no .git in it, it is not a bare repository, and it holds no .torrent or .magnet file')
}

async function isRepository(path: string): Promise<boolean> {
  if (await exists(join(path, '.git'))) return true
  const parts = await Promise.all(['HEAD', 'objects'].map((name) => exists(join(path, name))))
  if (!parts.every(Boolean)) return false
  return (await exists(join(path, 'refs'))) || (await exists(join(path, 'packed-refs')))
}

/** An empty folder counts: metainfo may be dropped into it later. */
async function holdsMetainfo(path: string, depth: number): Promise<boolean> {
  const entries = await readdir(path, { withFileTypes: true })
  if (entries.length === 0) return true
  if (entries.some((entry) => /\.(torrent|magnet)$/i.test(entry.name))) return true
  if (depth === 0) return false
  for (const entry of entries) {
    if (entry.isDirectory() && !entry.name.startsWith('.') && (await holdsSome(join(path, entry.name), depth - 1))) {
      return true
    }
  }
  return false
}

async function holdsSome(path: string, depth: number): Promise<boolean> {
  const entries = await readdir(path)
  return entries.length > 0 && (await holdsMetainfo(path, depth))
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(systemCode(error) ?? '')) return false
    throw new AnnexfsError('SYSTEM', `cannot look at ${path}: ${reasonOf(error)}`, { cause: error })
  }
}

function neither(source: string, why: string): AnnexfsError {
  return new AnnexfsError(
    'INVALID',
    `${source} is neither a git repository nor torrents: ${why}. Give a repository, a clone URL, a folder of .torrent ` +
      `and .magnet files, a .torrent file or a magnet link`,
  )
}
