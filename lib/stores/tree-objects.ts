import { hashDirLower } from '../annex/hash-dirs.js'
import { keyFile } from '../annex/key.js'
import type { ObjectName } from './store.js'

/** `F/F` in the lower-case hash directory: where most special remotes keep an object. Bytes. */
export function objectLocation({ key, suffix = '' }: ObjectName): Buffer {
  const file = keyFile(key)
  return Buffer.from(`${hashDirLower(key)}${file}/${file}${suffix}`, 'latin1')
}

/**
 * The path of an object in a tree of files (`exporttree=yes`, `importtree=yes`): the one of the exported file; with
 * `annexobjects=yes` other keys lie beside the files. Undefined when the tree cannot have it.
 */
export function pathInTree(name: ObjectName, config: ReadonlyMap<string, string>): Buffer | undefined {
  if (name.path !== undefined) return name.path
  if (config.get('annexobjects') !== 'yes') return undefined
  return Buffer.concat([Buffer.from('.git/annex/objects/'), objectLocation(name)])
}

/** Whether the remote has files under their own names instead of objects under keys. */
export function isTree(config: ReadonlyMap<string, string>): boolean {
  return config.get('exporttree') === 'yes' || config.get('importtree') === 'yes'
}
