import { LRUCache } from 'lru-cache'
import type { Content } from '../engine/content.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { FileNode } from '../tree/tree.js'
import { clampTime } from './attributes.js'
import { Gate } from './gate.js'

/**
 * What a path shows while it is open, and when its kernel pages must go.
 *
 * One path is one inode is one set of kernel pages. So while a path has open handles, everybody sees the content that
 * the first of them opened; when the last handle is released, whatever the tree has by then shows. libfuse's
 * `auto_cache` keeps the pages over an open unless time or size differ from what it saw last; where content changed
 * and both are equal, the time is moved by some milliseconds within its second.
 *
 * The first open after that drops the pages, which the kernel does when our answer reaches it. Opens beside it wait for
 * a sign that it has (its first read, or its release): they might read old pages before, or have pages under way after,
 * for which the kernel would wait, deaf to signals, as long as their source hangs.
 */
export class Pins {
  readonly #pins = new Map<string, Pin>()
  readonly #opened: LRUCache<string, Opened>
  /** Some path was forgotten, so that a path that is not remembered may still have pages. */
  #forgetful = false
  /** Spreads the first milliseconds of paths that may have been forgotten. */
  #next = 0

  constructor(options: { remembered?: number } = {}) {
    this.#opened = new LRUCache({
      max: options.remembered ?? REMEMBERED,
      dispose: (_, __, reason) => {
        if (reason === 'evict') this.#forgetful = true
      },
    })
  }

  get size(): number {
    return this.#pins.size
  }

  get(path: string): Pin | undefined {
    return this.#pins.get(path)
  }

  /** Takes part in the pin of `path`, which starts now with `node` if there is none. To be released once. */
  take(path: string, node: FileNode<Content>): Pin {
    let pin = this.#pins.get(path)
    if (pin === undefined) {
      pin = { path, node, handles: 0, flushed: 0, contentId: undefined, size: node.size, settling: 0, gate: undefined }
      this.#pins.set(path, pin)
    }
    pin.handles += 1
    return pin
  }

  /** @param flushed a descriptor of the handle was closed before. */
  release(pin: Pin, flushed = false): void {
    pin.handles -= 1
    if (flushed) pin.flushed -= 1
    pin.gate?.open()
    if (pin.handles === 0) this.#pins.delete(pin.path)
  }

  /** The modification time to show for `path`. */
  shownTime(path: string, node: FileNode<Content>): Milliseconds {
    const opened = this.#opened.peek(path)
    if (opened === undefined) return clampTime(node.mtime)
    return shifted(node.mtime, opened.nodeId === node.content.id ? opened.shift : opened.shift + 1)
  }

  /**
   * Says what an open of the pin found. False when it is not what its other handles have: two contents would mix in
   * one set of pages.
   */
  found(pin: Pin, contentId: string, size: Bytes): boolean {
    if (pin.contentId !== undefined) return pin.contentId === contentId && pin.size === size
    pin.contentId = contentId
    pin.size = size
    pin.settling = this.#remember(pin.path, pin.node.content.id, contentId)
    return true
  }

  /** Waits for its turn: the first open of a pin goes ahead, others when the kernel has seen that one. */
  async turn(pin: Pin): Promise<void> {
    if (pin.settling > 0) {
      pin.gate = new Gate(pin.settling)
      pin.settling = 0
    } else if (pin.gate !== undefined) await pin.gate.passed
  }

  /** How long other opens wait for this one at the most. */
  #remember(path: string, nodeId: string, contentId: string): Milliseconds {
    const opened = this.#opened.get(path)
    // The kernel may have forgotten the inode since (little memory), and then drops pages as at the very first open.
    if (opened?.nodeId === nodeId && opened.contentId === contentId) return NEW_SETTLES
    if (opened === undefined && !this.#forgetful) {
      this.#opened.set(path, { nodeId, contentId, shift: 0 })
      return NEW_SETTLES
    }
    this.#next = (this.#next + 1) % SHIFTS
    this.#opened.set(path, {
      nodeId,
      contentId,
      shift: opened === undefined ? this.#next : (opened.shift + 1) % SHIFTS,
    })
    return CHANGE_SETTLES
  }
}

/** The content that a path shows while it is open. */
export interface Pin {
  readonly path: string
  readonly node: FileNode<Content>
  handles: number
  /** Those of them of which a descriptor was closed. */
  flushed: number
  /** Of the first handle, once it is open. */
  contentId: string | undefined
  /** Learned at open where the node does not say. */
  size: Bytes | undefined
  /** How long the first open may take to reach the kernel, while that open is still to come. */
  settling: Milliseconds
  /** Where the opens beside the first wait for it. */
  gate: Gate | undefined
}

interface Opened {
  readonly nodeId: string
  readonly contentId: string
  readonly shift: number
}

/** Paths opened lately, at some 200 bytes each. */
const REMEMBERED = 32_768
/** Far longer than an answered open takes to reach the kernel, where old pages are at stake. */
const CHANGE_SETTLES: Milliseconds = 1000
/** The same where there are no old pages. */
const NEW_SETTLES: Milliseconds = 100
const SHIFTS = 1000

/** `time` moved by `shift` milliseconds within its second, so that `ls -l` and second-wise comparisons see no change. */
function shifted(time: Milliseconds, shift: number): Milliseconds {
  const clamped = clampTime(time)
  const within = clamped % 1000
  return clamped - within + ((within + shift) % SHIFTS)
}
