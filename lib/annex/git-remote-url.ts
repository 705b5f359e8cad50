import { isAbsolute, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { GitConfig } from '../git/config.js'

/** `url` after git's `url.BASE.insteadOf` (git-config(1)): the longest matching prefix is replaced. */
export function rewriteUrl(url: string, config: GitConfig): string {
  let best: { base: string; prefix: string } | undefined
  for (const base of config.subsections('url')) {
    for (const prefix of config.all(`url.${base}.insteadof`)) {
      if (url.startsWith(prefix) && prefix.length > (best?.prefix.length ?? -1)) best = { base, prefix }
    }
  }
  return best === undefined ? url : best.base + url.slice(best.prefix.length)
}

/** The folder that a git remote's URL names on this machine (relative ones to `base`), or undefined. */
export function localFolder(url: string, base: string): string | undefined {
  if (url === '' || url.includes('\0')) return undefined
  if (/^file:\/\//i.test(url)) {
    try {
      return fileURLToPath(url)
    } catch {
      // A file URL with a host or an encoded slash names no folder here.
      return undefined
    }
  }
  if (isAbsolute(url)) return url
  // As git: a colon before the first slash makes it scp style, unless it is a scheme; `helper::address` is neither.
  const colon = url.indexOf(':')
  const slash = url.indexOf('/')
  return colon >= 0 && (slash < 0 || colon < slash) ? undefined : resolve(base, url)
}
