import { AnnexfsError } from '../errors.js'
import type { Entry, Node, Tree } from '../tree/tree.js'

/** Several trees as folders of one. */
export class UnionTree<C> implements Tree<C> {
  readonly #trees: ReadonlyMap<string, Tree<C>>
  readonly #mtime: number

  /** `trees`: by folder name; distinct and safe names. */
  constructor(trees: ReadonlyMap<string, Tree<C>>, mtime: number) {
    this.#trees = trees
    this.#mtime = mtime
  }

  lookup(path: string, signal: AbortSignal): Node<C> | undefined | Promise<Node<C> | undefined> {
    if (path === '/') return { kind: 'dir', mtime: this.#mtime }
    const [tree, rest] = this.#split(path)
    return tree?.lookup(rest, signal)
  }

  async list(path: string, signal: AbortSignal): Promise<readonly Entry<C>[]> {
    if (path !== '/') {
      const [tree, rest] = this.#split(path)
      if (tree === undefined) throw new AnnexfsError('NOT_FOUND', `there is no ${path}`)
      return tree.list(rest, signal)
    }
    const entries: Entry<C>[] = []
    for (const [name, tree] of this.#trees) {
      const node = await tree.lookup('/', signal)
      if (node !== undefined) entries.push({ name, node })
    }
    return entries
  }

  async close(): Promise<void> {
    await Promise.all([...this.#trees.values()].map((tree) => tree.close()))
  }

  #split(path: string): [Tree<C> | undefined, string] {
    const slash = path.indexOf('/', 1)
    const name = slash < 0 ? path.slice(1) : path.slice(1, slash)
    return [this.#trees.get(name), slash < 0 ? '/' : path.slice(slash)]
  }
}

/** Folder names for sources: the last part of each, made distinct with ` (2)`, ` (3)`… */
export function sourceNames(sources: readonly string[]): string[] {
  const taken = new Set<string>()
  return sources.map((source) => {
    const base = baseName(source)
    let name = base
    for (let count = 2; taken.has(name); count++) name = `${base} (${count})`
    taken.add(name)
    return name
  })
}

function baseName(source: string): string {
  const named = source.startsWith('magnet:') ? (/[?&]dn=([^&]+)/.exec(source)?.[1] ?? 'magnet') : source
  const text = source.startsWith('magnet:') ? decode(named) : source.replace(/^([a-z]+:\/\/[^?#]*).*$/, '$1')
  const parts = text.split(/[/:]/).filter((part) => part !== '' && part !== '.' && part !== '..')
  const last = parts.at(-1) === '.git' ? parts.at(-2) : parts.at(-1)
  const name = (last ?? 'source').replace(/\.(git|torrent|magnet)$/, '').replaceAll('\0', '')
  return name === '' ? 'source' : name
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replace(/\+/g, ' '))
  } catch (error) {
    if (error instanceof URIError) return text
    throw error
  }
}
