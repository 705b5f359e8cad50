import { LRUCache } from 'lru-cache'
import type { Content } from '../engine/content.js'
import type { Volume } from '../engine/volume.js'
import type { Milliseconds } from '../space/space.js'
import type { Node } from '../tree/tree.js'
import { ERRNO } from './errno.js'

/** getfattr asks for the list, then twice for each value. */
const KEPT: Milliseconds = 500
/** The kernel takes no more (xattr(7)). */
const VALUE_MAX = 65_536

/** The extended attributes of the files that were asked for lately. */
export class AttributeValues {
  readonly #volume: Volume
  readonly #kept = new LRUCache<string, Promise<ReadonlyMap<string, string>>>({ max: 64, ttl: KEPT })

  constructor(volume: Volume) {
    this.#volume = volume
  }

  of(path: string, node: Node<Content>): Promise<ReadonlyMap<string, string>> {
    let values = this.#kept.get(path)
    if (values === undefined) {
      values = this.#volume.attributes(node)
      this.#kept.set(path, values)
      const own = values
      values.catch(() => {
        // Whoever asked gets the error; the next one asks again.
        if (this.#kept.peek(path) === own) this.#kept.delete(path)
      })
    }
    return values
  }
}

/**
 * False for the names that only the kernel or the system give a meaning to. Answering them with EOPNOTSUPP lets `ls -l`
 * stop asking for access lists after the first file.
 */
export function isUserAttribute(name: string): boolean {
  return name.startsWith('user.')
}

/** Puts `value` into `view` as getxattr(2) and listxattr(2) want it; an empty view asks for the size only. */
export function putAttribute(value: Uint8Array, view: Uint8Array): number {
  if (value.length > VALUE_MAX) return ERRNO.E2BIG
  if (view.length === 0) return value.length
  if (view.length < value.length) return ERRNO.ERANGE
  view.set(value)
  return value.length
}

/** The names as listxattr(2) wants them, each ended by a zero byte. */
export function nameList(values: ReadonlyMap<string, string>): Uint8Array {
  const names = [...values.keys()].filter((name) => isUserAttribute(name) && !name.includes('\0'))
  return Buffer.from(names.map((name) => `${name}\0`).join(''))
}
