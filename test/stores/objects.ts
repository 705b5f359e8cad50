import assert from 'node:assert/strict'
import { isAnnexfsError, type ErrorCode } from '../../lib/errors.js'
import type { ObjectName, ObjectStore } from '../../lib/stores/store.js'
import type { AnnexWorld } from '../support/annex.js'
import { keyOf, keyOfFile } from './real-remote.js'
import { readObject } from './store-contract.js'

/** A key that nobody has. */
export const ABSENT = keyOf('SHA256E-s5--0000000000000000000000000000000000000000000000000000000000000000')

export const soon = (): AbortSignal => AbortSignal.timeout(60_000)

/** What an annexed file of `here` is called in a store. */
export async function nameOf(world: AnnexWorld, file = 'f.bin'): Promise<ObjectName> {
  const key = await keyOfFile(world, file)
  return { key, content: key, ...(key.size === undefined ? {} : { size: key.size }) }
}

/** Whether the store has it; and then it is `content`. */
export async function reads(from: ObjectStore, what: ObjectName, content: Buffer): Promise<boolean> {
  const object = await from.open(what, soon())
  if (object === undefined) return false
  try {
    assert.ok((await readObject(object, { start: 0, end: content.length })).equals(content))
    return true
  } finally {
    object.close?.()
  }
}

/** The error of reading it. */
export async function failure(from: ObjectStore, what: ObjectName): Promise<{ code: ErrorCode; message: string }> {
  try {
    const object = await from.open(what, soon())
    assert.ok(object)
    await readObject(object, { start: 0, end: 1 })
  } catch (error) {
    assert.ok(isAnnexfsError(error), String(error))
    return error
  }
  assert.fail('it was read')
}
