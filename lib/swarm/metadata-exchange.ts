import { createHash } from 'node:crypto'
import type { Wire, WireExtension } from 'bittorrent-protocol'
import type { Bytes } from '../space/space.js'
import { decodeBencode, encodeBencode, type BencodeDictionary } from '../torrent/bencode.js'
import { LONGEST_METADATA } from './longest-metadata.js'
import { dropWire } from './wire-guard.js'

/**
 * Metadata from and to a peer (BEP 9), in place of ut_metadata: it keeps the raw bytes that the infohash is over,
 * allocates only for what came, and gives nothing that was not checked.
 */

const METADATA_PIECE: Bytes = 16 * 1024
const ASKED_AT_ONCE = 16
const REQUEST = 0
const DATA = 1
const REJECT = 2
/** A dictionary of three small integers. */
const LONGEST_HEADER: Bytes = 1024

export interface MetadataExchangeOptions {
  readonly wire: Wire
  readonly infohash: string
  /** What we have, to be given to the peer. */
  readonly metadata: Uint8Array | undefined
  /** What the peer gave, when its SHA-1 is the infohash; undefined: we do not need it. */
  readonly found: ((metadata: Buffer) => void) | undefined
  /** What of all peers' metadata is in memory at once: `take` false means not now. */
  readonly memory: MetadataMemory
}

export interface MetadataMemory {
  used: Bytes
  readonly most: Bytes
}

/** Puts the exchange in the place of the one that webtorrent has registered on the wire. */
export function exchangeMetadata(options: MetadataExchangeOptions): void {
  const { wire, metadata } = options
  if (metadata !== undefined) wire.extendedHandshake['metadata_size'] = metadata.byteLength
  const fetching = options.found === undefined ? undefined : new Fetching(options, options.found)
  wire.once('close', () => fetching?.end())
  const extension: WireExtension = {
    onHandshake: () => undefined,
    onExtendedHandshake: (handshake) => {
      const size = handshake['metadata_size']
      if (size === undefined || size === 0) return
      if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0 || size > LONGEST_METADATA) {
        dropWire(wire, 'claims an absurd size of the metadata')
      } else fetching?.begin(size)
    },
    onMessage: (message) => {
      const header = parseHeader(Buffer.from(message.buffer, message.byteOffset, message.byteLength))
      if (header.type === REQUEST) answer(wire, metadata, header.piece)
      else if (header.type === DATA) fetching?.take(header.piece, message.subarray(header.end))
      else if (header.type === REJECT) fetching?.end()
    },
  }
  wire._ext['ut_metadata'] = extension
}

function parseHeader(message: Buffer): { type: number; piece: number; end: number } {
  // Only the header is bencoded: the block follows it without a mark of its own.
  const header = decodeBencode(message.subarray(0, LONGEST_HEADER), { trailing: 'allow' })
  if (header.kind !== 'dictionary') throw new Error('the header of a metadata message is no dictionary')
  return { type: integer(header, 'msg_type'), piece: integer(header, 'piece'), end: header.end }
}

function integer(dictionary: BencodeDictionary, key: string): number {
  const value = dictionary.entries.get(key)
  if (value?.kind !== 'integer' || value.value < 0) throw new Error(`a metadata message without ${key}`)
  return value.value
}

function answer(wire: Wire, metadata: Uint8Array | undefined, piece: number): void {
  const start = piece * METADATA_PIECE
  if (metadata === undefined || start >= metadata.byteLength) {
    send(wire, encodeBencode({ msg_type: REJECT, piece }))
    return
  }
  const block = metadata.subarray(start, start + METADATA_PIECE)
  send(wire, Buffer.concat([encodeBencode({ msg_type: DATA, piece, total_size: metadata.byteLength }), block]))
}

function send(wire: Wire, message: Buffer): void {
  wire.extended('ut_metadata', message)
}

/** The metadata as one peer gives it. */
class Fetching {
  #size = 0
  #blocks: (Buffer | undefined)[] = []
  #missing = 0
  #next = 0
  #held = 0
  #ended = false

  constructor(
    private readonly options: MetadataExchangeOptions,
    private readonly found: (metadata: Buffer) => void,
  ) {}

  begin(size: Bytes): void {
    if (this.#ended || this.#missing > 0) return
    this.#size = size
    this.#missing = Math.ceil(size / METADATA_PIECE)
    for (let count = 0; count < ASKED_AT_ONCE; count++) this.#ask()
  }

  take(piece: number, block: Uint8Array): void {
    if (this.#ended || piece >= this.#next || this.#blocks[piece] !== undefined) return
    const expected = Math.min(METADATA_PIECE, this.#size - piece * METADATA_PIECE)
    if (block.byteLength !== expected) return dropWire(this.options.wire, 'gave metadata of another length')
    const { memory } = this.options
    if (memory.used + expected > memory.most) return this.end()
    memory.used += expected
    this.#held += expected
    this.#blocks[piece] = Buffer.from(block)
    this.#missing -= 1
    if (this.#missing > 0) return this.#ask()
    const all = Buffer.concat(this.#blocks.filter((one) => one !== undefined))
    this.end()
    if (createHash('sha1').update(all).digest('hex') !== this.options.infohash) {
      dropWire(this.options.wire, 'gave metadata that does not have the hash')
      return
    }
    this.found(all)
  }

  end(): void {
    this.#ended = true
    this.options.memory.used -= this.#held
    this.#held = 0
    this.#blocks = []
  }

  #ask(): void {
    if (this.#next >= Math.ceil(this.#size / METADATA_PIECE)) return
    send(this.options.wire, encodeBencode({ msg_type: REQUEST, piece: this.#next }))
    this.#next += 1
  }
}
