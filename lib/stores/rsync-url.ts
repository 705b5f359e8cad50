import type { AnnexRemote } from '../annex/remote.js'
import { AnnexfsError } from '../errors.js'
import { printable } from '../log/log.js'
import { objectPaths, treePath } from './directory-object.js'
import type { ObjectName } from './store.js'

/** Where an rsync remote is: on this machine, behind ssh, or an rsync daemon. */
export type RsyncPlace =
  | { readonly how: 'local'; readonly path: string }
  | { readonly how: 'ssh'; readonly url: string }
  | { readonly how: 'daemon'; readonly url: string }

/** The `rsyncurl` of a remote, told apart as rsync and git-annex do. @throws AnnexfsError INVALID, FORBIDDEN. */
export function rsyncPlace(remote: AnnexRemote): RsyncPlace {
  const url = remote.config.get('annex-rsyncurl') ?? remote.config.get('rsyncurl')
  const refuse = (why: string): AnnexfsError =>
    new AnnexfsError('INVALID', `the rsyncurl of the remote ${printable(remote.name)} is refused: ${why}`)
  if (url === undefined || url === '') throw refuse('there is none')
  // oxlint-disable-next-line no-control-regex -- just these are refused
  if (/[\u0000\r\n]/.test(url) || url.length > 4096) throw refuse('it is too long or has line breaks in it')
  if (url.startsWith('-')) throw refuse('it starts with "-"')
  const place = placeOf(url)
  if (remote.configured) return place
  throw new AnnexfsError(
    'FORBIDDEN',
    `the rsync remote ${printable(remote.name)} is known from the git-annex branch alone, where anybody may have named the ` +
      `place; to use it, run: git annex enableremote ${printable(remote.name)}`,
  )
}

function placeOf(url: string): RsyncPlace {
  if (/^rsync:\/\//i.test(url)) return { how: 'daemon', url }
  const colon = /^(?:[^@/]*@)?\[[^\]/]+\]:/.exec(url)?.[0].length ?? url.indexOf(':') + 1
  const slash = url.indexOf('/')
  if (colon === 0 || (slash >= 0 && slash < colon)) return { how: 'local', path: url }
  if (url[colon] !== ':') return { how: 'ssh', url }
  return { how: 'daemon', url: `rsync://${url.slice(0, colon - 1)}/${url.slice(colon + 1).replace(/^\/+/, '')}` }
}

/**
 * Where an object may be below `root` (relative to where programs at its host start, if it is), likeliest first: in an
 * exported tree its path, else by its key.
 * @throws AnnexfsError INVALID for a path that does not stay below the root.
 */
export function rsyncPaths(root: string, name: ObjectName): readonly Buffer[] {
  return name.path === undefined ? objectPaths(root, name) : [treePath(root, name.path)]
}
