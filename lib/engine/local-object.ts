import { setMaxListeners } from 'node:events'
import { checkWhole } from '../verify/whole.js'
import { keyHash, type Key } from '../annex/key.js'
import type { LocalObject } from '../annex/repository.js'
import { AnnexfsError } from '../errors.js'
import { openLocalFile, type LocalFile } from '../sources/local-file.js'
import type { Bytes } from '../space/space.js'
import type { Deps } from './deps.js'
import type { Route } from './routed-file.js'

/** A read of a local disk that has lately been slow goes through the thread pool, so that nobody else waits for it. */
const SLOW_READ = 2
const SLOW_FOR = 250

/**
 * The annex object of the repository itself, read in place: nothing is copied into the cache. An object that may have
 * been edited (writable or hard-linked, annex.thin) is compared with its key first, and every object under strict
 * verification and where manifests are demanded; what was found right is remembered by inode, size and time.
 * @returns undefined when the object is not there, or is not the key's content.
 */
export async function localRoute(
  key: Key,
  object: LocalObject,
  deps: Deps,
  signal: AbortSignal,
): Promise<Route | undefined> {
  const file = await openLocalFile(object.path, key.size)
  if (file === undefined) return undefined
  try {
    const doubtful = object.writable || object.hardLinked || !file.settled
    if ((doubtful || deps.verify !== 'normal') && !(await isRight(key, object, file, deps, signal))) {
      file.close()
      return undefined
    }
  } catch (error) {
    file.close()
    throw error
  }
  return inPlace(file)
}

async function isRight(
  key: Key,
  object: LocalObject,
  file: LocalFile,
  deps: Deps,
  signal: AbortSignal,
): Promise<boolean> {
  const hash = keyHash(key)
  if (hash === undefined) {
    if (deps.verify !== 'strict') return deps.verify === 'normal'
    throw new AnnexfsError(
      'FORBIDDEN',
      'this key has no hash to check its content against; strict verification refuses it',
    )
  }
  const stamp = `${object.size} ${object.mtime}`
  const id = object.path.toString('latin1')
  const known = await deps.facts.get('object', id, (value) => (value === stamp ? stamp : undefined))
  if (known !== undefined) return true
  const space = { id: 'key:local' as never, length: file.size, pieceLength: file.size }
  const result = await checkWhole({
    read: { path: id },
    slice: { space, offset: 0, length: file.size },
    algorithm: hash.algorithm,
    digest: hash.digest,
    signal,
  })
  if (result === 'match') {
    await deps.facts.set('object', id, stamp)
    return true
  }
  deps.log.warn('the local object is not what its key says (edited in place?); other sources are used', {
    object: object.path.toString('utf8'),
  })
  return false
}

function inPlace(file: LocalFile): Route {
  let slowUntil = 0
  return {
    name: 'local object',
    read: (offset: Bytes, length: Bytes, into: Uint8Array) => {
      const count = Math.max(0, Math.min(length, file.size - offset))
      if (count === 0) return 0
      const started = performance.now()
      if (started < slowUntil) return file.read(offset, count)
      file.readSync(offset, into.subarray(0, count))
      const ended = performance.now()
      if (ended - started > SLOW_READ) slowUntil = ended + SLOW_FOR
      return count
    },
    direct: () => {
      const from = file.direct()
      return from === undefined ? undefined : { from, start: 0, ended: NEVER }
    },
    close: () => file.close(),
  }
}

/** A file that changes is noticed by its time. */
const NEVER = new AbortController().signal
setMaxListeners(0, NEVER)
