import { LRUCache } from 'lru-cache'
import { reasonOf } from '../errors.js'
import type { Bytes } from '../space/space.js'
import type { FileNode, Node, Tree } from '../tree/tree.js'
import type { Content, KeyContent } from './content.js'
import type { Deps } from './deps.js'
import { learnedSize, sizeOf } from './open-key.js'

/** Sizes kept in memory; the rest is read again from disk. */
const KEPT = 200_000
/** Between two questions to the network: polite to any server. */
const PAUSE = 500
const QUESTION_TIMEOUT = 10_000

/**
 * The sizes of keys that do not say theirs. What was ever learned is shown; what was not is unknown (never guessed)
 * until the file is opened, or until the background filler, if it was asked for, has come to it.
 */
export class SizeFiller {
  readonly #tree: Tree<Content>
  readonly #deps: Deps
  /** By content id; -1 for looked up on disk and not known. Made when needed: it takes 5 MB even while it is empty. */
  #kept: LRUCache<string, Bytes> | undefined
  readonly #closing = new AbortController()

  constructor(tree: Tree<Content>, deps: Deps) {
    this.#tree = tree
    this.#deps = deps
  }

  get #sizes(): LRUCache<string, Bytes> {
    return (this.#kept ??= new LRUCache<string, Bytes>({ max: KEPT }))
  }

  /** `node` with the size that is known of it by now. */
  withSize(node: Node<Content> | undefined): Node<Content> | undefined | Promise<Node<Content> | undefined> {
    if (node?.kind !== 'file' || node.size !== undefined || node.content.kind !== 'key') return node
    const { content } = node
    const known = this.#sizes.get(content.id)
    if (known !== undefined) return known < 0 ? node : sized(node, known)
    return learnedSize(content.key, this.#deps).then((learned) => {
      this.#sizes.set(content.id, learned?.size ?? -1)
      return learned === undefined ? node : sized(node, learned.size)
    })
  }

  learned(content: KeyContent, size: Bytes): void {
    this.#sizes.set(content.id, size)
  }

  /** Walks the tree once and asks for the sizes that are missing, one at a time. */
  start(): void {
    this.#fill('/').catch((error: unknown) => {
      if (this.#closing.signal.aborted) return
      this.#deps.log.warn('learning sizes in the background has stopped', { reason: reasonOf(error) })
    })
  }

  close(): void {
    this.#closing.abort()
  }

  async #fill(folder: string): Promise<void> {
    const signal = this.#closing.signal
    const folders: string[] = []
    for (const { name, node } of await this.#tree.list(folder, signal)) {
      if (signal.aborted) return
      if (node.kind === 'dir') folders.push(`${folder === '/' ? '' : folder}/${name}`)
      if (node.kind !== 'file' || node.size !== undefined || node.content.kind !== 'key') continue
      if ((await learnedSize(node.content.key, this.#deps)) !== undefined) continue
      await this.#ask(node.content)
      await pause(PAUSE, signal)
    }
    for (const next of folders) {
      if (!signal.aborted) await this.#fill(next)
    }
  }

  async #ask(content: KeyContent): Promise<void> {
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(QUESTION_TIMEOUT)])
    try {
      this.learned(content, await sizeOf(content, this.#deps, signal))
    } catch (error) {
      this.#deps.log.debug('a size could not be learned', { content: content.id, reason: reasonOf(error) })
    }
  }
}

/** Field by field: the fields of a node may be getters, which a spread would lose. */
function sized({ kind, mtime, executable, content }: FileNode<Content>, size: Bytes): FileNode<Content> {
  return { kind, mtime, executable, content, size }
}

function pause(duration: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, duration)
    timer.unref()
    signal.addEventListener('abort', done, { once: true })
  })
}
