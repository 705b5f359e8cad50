import { createHash, randomBytes } from 'node:crypto'
import { closeSync, fstatSync, readSync, renameSync, rmSync, writeSync } from 'node:fs'
import { lstat, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'
import { rateLimited, type Log } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { checkFolder, ensureFolder, FACTS, openFile } from './folder.js'
import { isGone } from './walk.js'

/** Small durable facts by kind and id. Never throws on disk trouble: a fact that cannot be kept is just forgotten. */
export interface Facts {
  /** The fact, when it is there, undamaged, and `check` makes something of it. */
  get<T>(kind: string, id: string, check: (value: unknown) => T | undefined): Promise<T | undefined>
  /** Remembers a JSON value of at most 1 MiB; false when it could not be kept. */
  set(kind: string, id: string, value: unknown): Promise<boolean>
  getBlob(kind: string, id: string): Promise<Uint8Array | undefined>
  /** Remembers raw bytes, at most 32 MiB; false when they could not be kept. */
  setBlob(kind: string, id: string, bytes: Uint8Array): Promise<boolean>
  delete(kind: string, id: string): Promise<void>
}

const MAGIC = 'annexfs fact 1\n'
const LARGEST_JSON: Bytes = 1_048_576
const LARGEST_BLOB: Bytes = 32 * 1_048_576
const MOST_ID = 4096
const DEFAULT_LIMIT: Bytes = 64 * 1_048_576
/** Room is measured again after this many bytes were written, or this share of the bound. */
const SHARE_UNTIL_PRUNED = 16
/** A temporary file this old was left by a process that died. */
const ABANDONED_AFTER: Milliseconds = 60_000
const HEADER = 32

/**
 * The facts in a cache folder (its `facts/`), shared by all processes that use it; one file each, replaced as a whole.
 * `limitBytes` bounds what they take on disk, beside the bound of the pieces: the oldest go first. 64 MiB unless told.
 */
export function openFacts(options: { readonly folder: string; readonly log: Log; readonly limitBytes?: Bytes }): Facts {
  return new FolderFacts(options.folder, rateLimited(options.log, 60_000), options.limitBytes ?? DEFAULT_LIMIT)
}

class FolderFacts implements Facts {
  /** Bytes written since the folder was last measured; at first it is not known what is there. */
  #written: Bytes = Infinity
  #pruning: Promise<void> | undefined

  constructor(
    readonly folder: string,
    readonly log: Log,
    readonly limit: Bytes,
  ) {}

  async get<T>(kind: string, id: string, check: (value: unknown) => T | undefined): Promise<T | undefined> {
    const bytes = this.#read(kind, id, 'json', LARGEST_JSON)
    if (bytes === undefined) return Promise.resolve(undefined)
    let value: unknown
    try {
      value = JSON.parse(bytes.toString('utf8'))
    } catch {
      // Its checksum was right, so it was written so: by another version. It is not a fact to us.
      return undefined
    }
    return check(value)
  }

  async set(kind: string, id: string, value: unknown): Promise<boolean> {
    const bytes = Buffer.from(JSON.stringify(value), 'utf8')
    return bytes.length <= LARGEST_JSON && this.#write(kind, id, 'json', bytes)
  }

  async getBlob(kind: string, id: string): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.#read(kind, id, 'blob', LARGEST_BLOB))
  }

  async setBlob(kind: string, id: string, bytes: Uint8Array): Promise<boolean> {
    return bytes.byteLength <= LARGEST_BLOB && this.#write(kind, id, 'blob', bytes)
  }

  async delete(kind: string, id: string): Promise<void> {
    for (const form of ['json', 'blob'] as const) {
      try {
        await unlink(this.#place(kind, id, form).path)
      } catch (error) {
        if (!isGone(error)) this.log.warn('a remembered fact could not be removed', { kind, reason: reasonOf(error) })
      }
    }
  }

  #place(kind: string, id: string, form: 'json' | 'blob'): { readonly path: string; readonly name: string } {
    if (!/^[a-z][a-z0-9-]{0,31}$/.test(kind)) {
      throw new AnnexfsError('INVALID', `a kind of facts is a short lower-case word, not ${JSON.stringify(kind)}`)
    }
    const name = `${kind}\n${id}\n${form}`
    const file = `${kind}-${createHash('sha256').update(name).digest('hex')}.${form}`
    return { path: join(this.folder, FACTS, file), name }
  }

  #read(kind: string, id: string, form: 'json' | 'blob', largest: Bytes): Buffer | undefined {
    const { path, name } = this.#place(kind, id, form)
    try {
      checkFolder(join(this.folder, FACTS))
      const fd = openFile(path, 'read')
      try {
        const { size } = fstatSync(fd)
        if (size > HEADER + MOST_ID + largest) return undefined
        const file = Buffer.alloc(size)
        let got = 0
        while (got < size) {
          const bytes = readSync(fd, file, got, size - got, got)
          if (bytes === 0) return undefined
          got += bytes
        }
        return decode(file, name)
      } finally {
        closeSync(fd)
      }
    } catch (error) {
      if (!isGone(error)) this.log.warn('a remembered fact could not be read', { kind, reason: reasonOf(error) })
      return undefined
    }
  }

  async #write(kind: string, id: string, form: 'json' | 'blob', bytes: Uint8Array): Promise<boolean> {
    const { path, name } = this.#place(kind, id, form)
    if (Buffer.byteLength(name) > MOST_ID || bytes.byteLength > this.limit) return false
    const temporary = `${path}.${randomBytes(6).toString('hex')}.new`
    try {
      await this.#prune(bytes.byteLength)
      ensureFolder(join(this.folder, FACTS))
      const fd = openFile(temporary, 'exclusive')
      try {
        const file = encode(name, bytes)
        for (let done = 0; done < file.length;) done += writeSync(fd, file, done, file.length - done, done)
      } finally {
        closeSync(fd)
      }
      renameSync(temporary, path)
      return true
    } catch (error) {
      this.log.warn('a fact could not be remembered', { kind, reason: reasonOf(error) })
      if (systemCode(error) !== 'ENOENT') discard(temporary)
      return false
    }
  }

  /** Makes room for `bytes` more when the bound may be passed. */
  async #prune(bytes: Bytes): Promise<void> {
    const room = Math.ceil((bytes + HEADER + 512) / 4096) * 4096
    this.#written += room
    if (this.#written < this.limit / SHARE_UNTIL_PRUNED) return
    this.#pruning ??= this.#pruneNow(room).finally(() => {
      this.#pruning = undefined
    })
    await this.#pruning
  }

  async #pruneNow(room: Bytes): Promise<void> {
    const facts: { readonly path: string; readonly bytes: Bytes; readonly at: Milliseconds }[] = []
    let total = 0
    for (const name of await namesIn(join(this.folder, FACTS))) {
      const path = join(this.folder, FACTS, name)
      try {
        const stats = await lstat(path)
        const abandoned = name.endsWith('.new') && Date.now() - stats.mtimeMs > ABANDONED_AFTER
        if (abandoned) await unlink(path)
        else {
          facts.push({ path, bytes: stats.blocks * 512, at: stats.mtimeMs })
          total += stats.blocks * 512
        }
      } catch (error) {
        if (!isGone(error)) throw error
      }
    }
    this.#written = 0
    const keep = this.limit - Math.ceil(this.limit / SHARE_UNTIL_PRUNED) - room
    if (total <= keep) return
    facts.sort((a, b) => a.at - b.at)
    for (const fact of facts) {
      if (total <= Math.min(keep, this.limit * 0.8)) break
      try {
        await unlink(fact.path)
      } catch (error) {
        if (!isGone(error)) throw error
      }
      total -= fact.bytes
    }
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (isGone(error)) return []
    throw error
  }
}

function discard(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {
    // The disk is in trouble, which was just said; pruning removes abandoned files.
  }
}

/** Header (magic, length of the name, CRC of what follows), name, bytes. */
function encode(name: string, bytes: Uint8Array): Buffer {
  const header = Buffer.alloc(HEADER)
  const title = Buffer.from(name, 'utf8')
  header.write(MAGIC, 0, 'latin1')
  header.writeUInt32LE(title.length, 16)
  header.writeUInt32LE(bytes.byteLength, 20)
  header.writeUInt32LE(crc32(bytes, crc32(title)), 24)
  return Buffer.concat([header, title, bytes])
}

function decode(file: Buffer, name: string): Buffer | undefined {
  if (file.length < HEADER || file.toString('latin1', 0, MAGIC.length) !== MAGIC) return undefined
  const titleEnd = HEADER + file.readUInt32LE(16)
  if (file.length !== titleEnd + file.readUInt32LE(20)) return undefined
  const title = file.subarray(HEADER, titleEnd)
  const bytes = file.subarray(titleEnd)
  if (title.toString('utf8') !== name || crc32(bytes, crc32(title)) !== file.readUInt32LE(24)) return undefined
  return bytes
}
