import type { WatchedFile } from '../engine/activity-file.js'
import type { Content } from '../engine/content.js'
import { keyHash } from '../annex/key.js'
import { AnnexfsError, isAnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { statsAt } from '../stats-at.js'
import { checkFile, goodStart, readAll, type Checked } from './check.js'
import { openPart, type Part } from './part.js'

export interface SaveOptions {
  readonly file: WatchedFile
  readonly content: Content
  readonly executable: boolean
  /** See `placeBelow`. */
  readonly target: string
  readonly readTimeout: Milliseconds
  readonly signal: AbortSignal
  readonly progress: (done: Bytes) => void
}

export interface Saved {
  /** It was there before, and is right. */
  readonly already: boolean
  /** Bytes of an earlier try that were gone on with. */
  readonly resumed: Bytes
  readonly checked: Checked
}

const STEP: Bytes = 1024 * 1024

/**
 * Writes an open file to `target`, checked as far as that can be: under another name until all of it is there and
 * right. What an earlier try has left is gone on with.
 * @throws AnnexfsError as a read would; CORRUPT when what came is wrong (nothing of it is left then); FORBIDDEN when
 * something else is at `target`; SYSTEM when the disk refuses.
 */
export async function saveFile(options: SaveOptions): Promise<Saved> {
  const { file, content, executable, target, signal } = options
  const there = await alreadyThere(options)
  if (there !== undefined) return { already: true, resumed: 0, checked: there }
  const part = await openPart(target, file.contentId, executable)
  try {
    for (let fresh = false; ; fresh = true) {
      const resumed = fresh ? 0 : await resumeAt(part, options)
      await write(part, resumed, options)
      await part.handle.sync()
      const result = await checkFile(part.path, file, content, signal)
      if (result.right) {
        await part.finish(target)
        return { already: false, resumed, checked: result.checked }
      }
      // What an earlier try had left may be what is wrong.
      if (resumed === 0) {
        await part.remove()
        throw new AnnexfsError('CORRUPT', `what came of ${file.path} does not have the hash that it must have`)
      }
    }
  } catch (error) {
    if (isAnnexfsError(error, 'CORRUPT') || (await part.handle.stat()).size === 0) await part.remove()
    throw error
  } finally {
    await part.close()
  }
}

async function alreadyThere({ file, content, target, signal }: SaveOptions): Promise<Checked | undefined> {
  const stats = await statsAt(target, 'show')
  if (stats === undefined) return undefined
  if (stats.isFile() && stats.size === file.size) {
    const result = await checkFile(target, file, content, signal)
    if (result.right) return result.checked
  }
  throw new AnnexfsError('FORBIDDEN', `${target} is there already and is something else; it was left alone`)
}

async function resumeAt(part: Part, { file, content, signal }: SaveOptions): Promise<Bytes> {
  const { size } = await part.handle.stat()
  if (size === 0) return 0
  const length = Math.min(size, file.size)
  if (content.kind === 'key' && keyHash(content.key) !== undefined) return length
  return goodStart(part.handle, length, file, signal)
}

async function write(part: Part, from: Bytes, options: SaveOptions): Promise<void> {
  const { file, signal, readTimeout, progress } = options
  const { handle } = part
  try {
    await handle.truncate(from)
    progress(from)
    for (let at = from; at < file.size;) {
      const count = Math.min(STEP, file.size - at)
      const bytes = await readAll(file, at, count, AbortSignal.any([signal, AbortSignal.timeout(readTimeout)]))
      if (bytes.byteLength !== count) {
        throw new AnnexfsError('CORRUPT', `read ${bytes.byteLength} of ${count} bytes at ${at} of ${file.path}`)
      }
      for (let done = 0; done < count;) {
        done += (await handle.write(bytes, done, count - done, at + done)).bytesWritten
      }
      at += count
      progress(at)
    }
  } catch (error) {
    if (isAnnexfsError(error) || systemCode(error) === undefined) throw error
    throw new AnnexfsError('SYSTEM', `cannot write ${part.path}: ${reasonOf(error)}`, { cause: error })
  }
}
