import type { Wire } from 'bittorrent-protocol'
import type WebTorrent from 'webtorrent'
import type { SwarmTorrent } from 'webtorrent'
import type { CachedSpace, PieceStore } from '../cache/store.js'
import { pieceCount, pieceSize, type Bytes, type PieceSpace, type SpaceId, type Urgency } from '../space/space.js'
import { reasonOf } from '../errors.js'
import type { Announcer } from './announcer.js'
import type { AssemblyMemory } from './assembly-memory.js'
import type { Blame } from './blame.js'
import { clientName } from './client-name.js'
import { EmptyStore } from './empty-store.js'
import { Link } from './link.js'
import type { TorrentMessage, TorrentStatus } from './messages.js'
import { exchangeMetadata, type MetadataMemory } from './metadata-exchange.js'
import { Picker } from './picker.js'
import { serveWire, type UploadAllowance } from './serving.js'
import { dropWire } from './wire-guard.js'

export interface SessionOptions {
  readonly client: WebTorrent
  readonly store: PieceStore
  readonly torrent: TorrentMessage
  readonly memory: AssemblyMemory
  readonly metadataMemory: MetadataMemory
  readonly blame: Blame
  readonly allowance: UploadAllowance
  /** False: nothing is announced or given. */
  readonly serves: boolean
  readonly stallTimeout: number
  readonly events: SessionEvents
}

export interface SessionEvents {
  /** `bytes` are given only when the store did not keep the piece. */
  arrived(index: number, bytes: Uint8Array | undefined): void
  failed(index: number, reason: string): void
  ban(address: string): void
  /** webtorrent has given the torrent up, which it should not. */
  broken(error: unknown): void
}

const SHA1_LENGTH = 20
/** Upload slots of a torrent (webtorrent chooses who gets them, BEP 3). */
const UPLOAD_SLOTS = 10
const LOOK_FOR_EVICTED_EVERY = 5000
/** A reader that seeks gives up many pieces, one after the other, and wants another one then. */
const MORE_MAY_COME = 5

/**
 * A torrent that is spoken about with peers. webtorrent finds, connects and chokes peers; which block is asked of whom
 * is the {@link Picker}'s, and what they are given comes from the shared cache, so webtorrent's own selection, pieces
 * and store are taken out of its hands here. The cache may evict a piece at any time: it is taken back from what we
 * offer (lt_donthave for those who know it) and never answered with anything else.
 */
export class Session {
  readonly space: PieceSpace
  readonly cached: CachedSpace
  readonly picker: Picker
  readonly torrent: SwarmTorrent
  announcer: Announcer | undefined
  downloaded: Bytes = 0
  uploaded: Bytes = 0
  readonly #links = new Map<Wire, Link>()
  #lookedForEvicted = Date.now()
  #askingSoon: NodeJS.Timeout | undefined

  constructor(private readonly options: SessionOptions) {
    this.space = spaceOf(options.torrent)
    this.cached = options.store.open(this.space)
    this.picker = new Picker(this.space, options.memory, options.blame, options.stallTimeout, {
      arrived: async (piece) => {
        this.downloaded += piece.bytes.byteLength
        const kept = await this.cached.put(piece)
        if (kept) this.#offer(piece.index)
        options.events.arrived(piece.index, kept ? undefined : piece.bytes)
      },
      failed: (index, reason) => options.events.failed(index, reason),
      ban: (address) => options.events.ban(address),
    })
    this.torrent = this.#join(options)
  }

  want(index: number, urgency: Urgency): void {
    // Another mount may have put it there; if it is damaged it comes back as `send`.
    if (this.cached.has(index)) this.options.events.arrived(index, undefined)
    else this.picker.want(index, urgency)
  }

  /** Nobody wants the piece any more. */
  cancel(index: number): void {
    this.picker.cancel(index)
    this.#askingSoon ??= setTimeout(() => {
      this.#askingSoon = undefined
      this.picker.askAll()
    }, MORE_MAY_COME)
  }

  /** The piece was put into the store and could not be read from there: its bytes, or fetch it once more. */
  send(index: number, urgency: Urgency): void {
    this.cached
      .read(index, 0, pieceSize(this.space, index))
      .then((bytes) => {
        if (bytes === undefined) this.picker.want(index, urgency)
        else this.options.events.arrived(index, bytes)
      })
      .catch((error: unknown) => this.options.events.failed(index, reasonOf(error)))
  }

  tick(): void {
    this.picker.tick()
    if (this.options.serves && Date.now() - this.#lookedForEvicted > LOOK_FOR_EVICTED_EVERY) {
      this.#lookedForEvicted = Date.now()
      this.#takeBackEvicted()
    }
  }

  /** Ends every connection to that address. */
  dropAddress(address: string): void {
    for (const [wire, link] of this.#links) if (link.address === address) dropWire(wire, 'has given wrong pieces')
  }

  status(): TorrentStatus {
    return {
      infohash: this.options.torrent.infohash,
      downloaded: this.downloaded,
      uploaded: this.uploaded,
      wanted: this.picker.wanted,
      peers: [...this.#links].map(([wire, link]) => ({
        address: `${link.address.includes(':') ? `[${link.address}]` : link.address}:${wire.remotePort ?? 0}`,
        client: clientName(wire),
        downloadSpeed: wire.downloadSpeed(),
        uploadSpeed: wire.uploadSpeed(),
        choking: wire.peerChoking,
        kind: kindOf(wire.type),
      })),
    }
  }

  close(): void {
    this.announcer?.close()
    clearTimeout(this.#askingSoon)
    this.picker.close()
    this.#links.clear()
    if (!this.torrent.destroyed) this.torrent.destroy({ destroyStore: false }, () => undefined)
    this.cached.close()
  }

  #join(options: SessionOptions): SwarmTorrent {
    const { client, torrent: message } = options
    const pieces = pieceCount(this.space)
    const held = options.serves ? this.#bitfield(pieces) : new Uint8Array(Math.ceil(pieces / 8))
    const description = {
      infoHash: message.infohash,
      // Only to be there: webtorrent asks it whether it has the metadata; peers get ours.
      info: {},
      name: message.infohash,
      announce: [],
      urlList: [],
      files: [],
      length: this.space.length,
      pieceLength: this.space.pieceLength,
      lastPieceLength: pieceSize(this.space, pieces - 1),
      pieces: Array.from({ length: pieces }, () => ''),
    }
    const torrent = client.add(description, {
      store: EmptyStore,
      storeCacheSlots: 0,
      bitfield: held,
      deselect: true,
      private: message.private,
      uploads: options.serves ? UPLOAD_SLOTS : 0,
      alwaysChokeSeeders: true,
    })
    torrent.on('error', (error: unknown) => options.events.broken(error))
    // Of webtorrent's own trackers and pieces, neither of which is used.
    torrent.on('warning', () => undefined)
    torrent.on('metadata', () => {
      // One value instead of an object for each missing piece; nothing of ours uses them.
      torrent.pieces = torrent.pieces.map((_, index) => (torrent.bitfield.get(index) ? null : MISSING))
      torrent._hashes = []
      torrent._reservations = []
      torrent._rarityMap?.destroy()
      torrent._rarityMap = null
      torrent.metadata = true
    })
    torrent.on('wire', (wire: Wire) => {
      exchangeMetadata({
        wire,
        infohash: message.infohash,
        metadata: message.infoBytes,
        found: undefined,
        memory: options.metadataMemory,
      })
    })
    torrent._verifyPieces = (callback) => callback(null)
    torrent._checkDone = () => false
    torrent._update = () => undefined
    torrent._updateWireWrapper = () => undefined
    torrent._updateWireInterest = () => undefined
    if (!options.serves) torrent._rechoke = () => undefined
    torrent._onWireWithMetadata = (wire) => this.#greet(torrent, wire)
    return torrent
  }

  #greet(torrent: SwarmTorrent, wire: Wire): void {
    const { client, serves } = this.options
    if (wire.destroyed || this.#links.has(wire)) return
    const link = new Link(wire, this.space.pieceLength)
    this.#links.set(wire, link)
    wire.isSeeder = false
    const pieces = pieceCount(this.space)

    const held = torrent.bitfield.buffer.reduce((total, byte) => total + bits(byte), 0)
    if (wire.hasFast && held === pieces) wire.haveAll()
    else if (wire.hasFast && held === 0) wire.haveNone()
    else wire.bitfield(torrent.bitfield)
    if (wire.peerExtensions.dht === true && client.dht !== false && client.dht.listening && !torrent.private) {
      wire.port(client.dht.address().port)
    }

    const offers = (): void => {
      wire.interested()
      this.picker.askOf(link)
    }
    wire.on('have', (index: number) => {
      if (index < 0 || index >= pieces) dropWire(wire, 'has a piece that there is not')
      else offers()
    })
    wire.on('bitfield', () => {
      if (wire.peerPieces.buffer.byteLength !== Math.ceil(pieces / 8))
        dropWire(wire, 'sent a bitfield of another length')
      else if (wire.peerPieces.buffer.some((byte) => byte !== 0)) offers()
    })
    wire.on('have-all', offers)
    wire.on('unchoke', () => this.picker.askOf(link))
    wire.on('download', () => this.#refill(link))
    wire.on('reject', () => this.#refill(link))
    wire.once('close', () => {
      this.#links.delete(wire)
      this.picker.leave(link)
    })
    if (serves) {
      wire.once('interested', () => wire.unchoke())
      serveWire(wire, this.#stock(torrent, pieces), this.options.allowance, (bytes) => {
        this.uploaded += bytes
      })
    } else wire.unchoke = () => undefined
    this.picker.join(link)
    // What it has may have been said before we listened.
    if (
      wire.peerPieces.buffer.byteLength === 0 ? wire.peerPieces.get(0) : wire.peerPieces.buffer.some((b) => b !== 0)
    ) {
      offers()
    }
  }

  readonly #refilling = new Set<Link>()

  /** Once for all blocks that came together. */
  #refill(link: Link): void {
    if (this.#refilling.has(link)) return
    this.#refilling.add(link)
    queueMicrotask(() => {
      this.#refilling.delete(link)
      const { asked, wire } = link
      this.picker.askOf(link)
      // What we send acknowledges at once what has come. Otherwise the system waits for 40 ms with that, and the peer's system (RFC
      // 896) as long with the end of the last block.
      if (link.asked === asked && wire.requests.length > 0 && !wire.destroyed) wire.keepAlive()
    })
  }

  #stock(torrent: SwarmTorrent, pieces: number): Parameters<typeof serveWire>[1] {
    return {
      pieces,
      size: (index) => pieceSize(this.space, index),
      has: (index) => torrent.bitfield.get(index),
      read: async (index, start, end) => {
        const bytes = await this.cached.read(index, start, end)
        if (bytes === undefined) this.#takeBack(index)
        return bytes
      },
    }
  }

  #bitfield(pieces: number): Uint8Array {
    const bitfield = new Uint8Array(Math.ceil(pieces / 8))
    for (let index = 0; index < pieces; index++) {
      if (this.cached.has(index)) bitfield[index >> 3] = (bitfield[index >> 3] ?? 0) | (0x80 >> (index & 7))
    }
    return bitfield
  }

  #offer(index: number): void {
    if (!this.options.serves || this.torrent.destroyed || this.torrent.bitfield.get(index)) return
    this.torrent.bitfield.set(index, true)
    this.torrent.pieces[index] = null
    for (const wire of this.#links.keys()) if (!wire.peerPieces.get(index)) wire.have(index)
  }

  #takeBack(index: number): void {
    if (this.torrent.destroyed || !this.torrent.bitfield.get(index)) return
    this.torrent.bitfield.set(index, false)
    this.torrent.pieces[index] = MISSING
    for (const wire of this.#links.keys()) wire.lt_donthave.donthave(index)
  }

  #takeBackEvicted(): void {
    if (!this.torrent.ready || this.torrent.destroyed) return
    for (let index = 0; index < pieceCount(this.space); index++) {
      if (this.torrent.bitfield.get(index) && !this.cached.has(index)) this.#takeBack(index)
    }
  }
}

/** What webtorrent sees in place of a piece that is not here. */
const MISSING = Object.freeze({ length: 0, missing: 0 })

/** webtorrent's names for how a peer is connected, as people would say it. */
function kindOf(type: string): string {
  if (type === 'tcpOutgoing') return 'tcp'
  return type === 'tcpIncoming' ? 'tcp (incoming)' : type
}

function bits(byte: number): number {
  let count = 0
  for (let rest = byte; rest !== 0; rest &= rest - 1) count += 1
  return count
}

function spaceOf(torrent: TorrentMessage): PieceSpace {
  return {
    id: `btih:${torrent.infohash}` as SpaceId,
    length: torrent.length,
    pieceLength: torrent.pieceLength,
    hashes: {
      algorithm: 'sha1',
      at: (index) => torrent.hashes.subarray(index * SHA1_LENGTH, (index + 1) * SHA1_LENGTH),
    },
  }
}
