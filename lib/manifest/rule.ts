import { createHash } from 'node:crypto'
import { hashDirLower } from '../annex/hash-dirs.js'
import { escapeBytes, keyFile, keyHash, parseKeyFile, type Key, type KeyHash } from '../annex/key.js'
import type { Bytes } from '../space/space.js'
import { LONGEST_NAME } from '../torrent/safe-name.js'

/*
 * The rule by which a key's manifest is made (doc/MANIFESTS.md). All of it decides the infohash: to change anything here
 * is to make a second, incompatible kind of manifest.
 */

const KIB = 1024
const SMALLEST_PIECE: Bytes = 128 * KIB
const LARGEST_PIECE: Bytes = 16 * KIB * KIB
/** 40 KiB of hashes. */
const MOST_SMALL_PIECES = 2048
/** What a reader takes (lib/torrent/metainfo.ts): 24 MiB of hashes, 19 TiB of content. */
const MOST_PIECES = 1_258_291
const EXTENSION = '.torrent'

/** A key that can have a manifest. */
export interface ManifestKey extends Key {
  readonly size: Bytes
}

/** Why `key` cannot have a manifest, for a message; undefined when it can. */
export function manifestProblem(key: Key): string | undefined {
  if (keyHash(key) === undefined) return `its backend ${key.backend} gives no hash that could be checked here`
  if (key.chunkSize !== undefined || key.chunkNumber !== undefined) return 'it is a chunk of another key'
  if (key.size === undefined) return 'it does not say its size'
  if (key.size === 0) return 'it is empty'
  if (key.size / LARGEST_PIECE > MOST_PIECES) return 'it is larger than 19 TiB'
  return undefined
}

/** @see manifestProblem */
export function canHaveManifest(key: Key): key is ManifestKey {
  return manifestProblem(key) === undefined
}

/** The hash that all of the content must have. */
export function hashOf(key: ManifestKey): KeyHash {
  const hash = keyHash(key)
  if (hash === undefined) throw new TypeError(`${key.backend} has no hash`)
  return hash
}

/**
 * The piece length of the manifest of `size` bytes: the smallest power of two from 128 KiB to 16 MiB that gives at most
 * 2,048 pieces, or 16 MiB.
 */
export function manifestPieceLength(size: Bytes): Bytes {
  let pieceLength = SMALLEST_PIECE
  while (pieceLength < LARGEST_PIECE && size > pieceLength * MOST_SMALL_PIECES) pieceLength *= 2
  return pieceLength
}

/**
 * The name in the info dictionary: the key's file name, with `%`, space and every byte that is not printable ASCII as
 * `%hh`; of names that would then be longer than 255 bytes, `sha256-` and the SHA-256 of the key's serialization in hex.
 */
export function manifestName(key: Key): string {
  const name = escapeBytes(keyFile(key))
  if (name.length <= LONGEST_NAME) return name
  return `sha256-${createHash('sha256').update(key.raw, 'latin1').digest('hex')}`
}

/** Where a key's manifest lies in the tree, as bytes in latin1: lower-case hash directories, `KEYFILE.torrent`. */
export function manifestPath(key: Key): readonly [string, string, string] {
  const [first = '', second = ''] = hashDirLower(key).split('/')
  return [first, second, `${keyFile(key)}${EXTENSION}`]
}

/** The key whose manifest belongs at `path`; undefined when none does. */
export function keyAtPath(path: readonly [string, string, string]): ManifestKey | undefined {
  const name = path[2]
  if (!name.endsWith(EXTENSION)) return undefined
  const key = parseKeyFile(name.slice(0, -EXTENSION.length))
  if (key === undefined || !canHaveManifest(key)) return undefined
  return manifestPath(key).every((part, index) => part === path[index]) ? key : undefined
}
