import { hashDirLower, hashDirMixed } from '../annex/hash-dirs.js'
import { keyFile } from '../annex/key.js'
import { AnnexfsError, throwIfAborted } from '../errors.js'
import { percentEncoded, shownUrl } from '../net/url.js'
import type { StoreContext } from './context.js'
import { WebAccess } from './git-web-access.js'
import { Places } from './httpalso-places.js'
import type { ObjectName, ObjectStore } from './store.js'

/**
 * Another way into a store, by plain HTTP (git-annex: "special remotes/httpalso"): `url=` is where the other one keeps its
 * files, in whatever layout. The layout that works is remembered.
 * @throws AnnexfsError INVALID without a usable `url=`.
 */
export function httpalsoStore({ remote, urls, log }: StoreContext): ObjectStore {
  const url = remote.config.get('url')
  if (url === undefined || !isWebUrl(url)) {
    throw new AnnexfsError('INVALID', `the httpalso remote ${remote.name} has no http or https URL (url=)`)
  }
  const base = url.replace(/\/+$/, '')
  const name = `${remote.name} (httpalso ${shownUrl(url)})`
  const options = { client: urls, name, log, access: new WebAccess(url, log, { trusted: remote.configured }) }
  // A tree and the objects beside it have nothing to do with each other's layout.
  const [objects, tree] = [new Places(options), new Places(options)]
  const inTree = ['yes', 'true'].includes(remote.config.get('exporttree') ?? '')
  return {
    open: async (wanted, signal) => {
      throwIfAborted(signal)
      if (wanted.path !== undefined) {
        const path = treePath(wanted.path)
        return path === undefined ? undefined : tree.open([`${base}/${path}`], wanted, signal)
      }
      if (!inTree)
        return objects.open(
          layouts(wanted).map((place) => `${base}/${place}`),
          wanted,
          signal,
        )
      if (remote.config.get('annexobjects') !== 'yes') return undefined
      return objects.open([`${base}/.git/annex/objects/${hashDirLower(wanted.key)}${twice(wanted)}`], wanted, signal)
    },
  }
}

export function isWebUrl(url: string): boolean {
  return /^https?:\/\//i.test(url) && URL.canParse(url)
}

/** The key's file name within a folder of that name, percent-encoded. */
export function twice(name: ObjectName): string {
  return `${fileOf(name, '')}/${fileOf(name)}`
}

/** The key's bytes, not its text: git-annex's names need not be UTF-8. */
function fileOf({ key, suffix = '' }: ObjectName, end = suffix): string {
  return percentEncoded(Buffer.from(`${keyFile(key)}${end}`, 'latin1'))
}

/** The layouts of all stores that it may stand beside, in git-annex's order (Remote/HttpAlso.hs). */
function layouts(name: ObjectName): readonly string[] {
  const { key } = name
  const [lower, mixed] = [hashDirLower(key), hashDirMixed(key)]
  const file = fileOf(name)
  const both = twice(name)
  const first = (folder: string): string => folder.slice(0, folder.indexOf('/') + 1)
  return [
    `${lower}${both}`,
    `${mixed}${both}`,
    file,
    `${lower}${file}`,
    `${mixed}${file}`,
    `${first(lower)}${file}`,
    `${first(mixed)}${file}`,
  ]
}

/** A path of an exported tree, percent-encoded; undefined for one that would be walked, which no tree has. */
export function treePath(path: Buffer): string | undefined {
  const parts = path.toString('latin1').split('/')
  if (parts.some((part) => part === '' || part === '.' || part === '..')) return undefined
  return parts.map((part) => percentEncoded(Buffer.from(part, 'latin1'))).join('/')
}
