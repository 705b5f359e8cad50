import { displayKey } from '../annex/key.js'
import type { AnnexRemote } from '../annex/remote.js'
import { WEB_UUID } from '../annex/remote.js'
import { shownUrl } from '../net/url.js'
import { sourcesForKey } from '../sources/annex.js'
import { pieceCount, type Bytes } from '../space/space.js'
import type { Assurance } from '../verify/piece.js'
import { AnnexfsError } from '../errors.js'
import type { Node } from '../tree/tree.js'
import { attributesOf } from './attributes.js'
import type { Content, KeyContent, TorrentContent } from './content.js'
import type { Deps } from './deps.js'

/** Where the content of a file is, as far as the records say; nobody is asked. */
export interface Whereabouts {
  readonly path: string
  readonly kind: 'annexed' | 'torrent' | 'git'
  readonly size: Bytes | undefined
  readonly key?: string
  readonly infohash?: string
  /** Bytes that are at hand. */
  readonly cached: Bytes
  readonly verified: Assurance
  readonly places: readonly Place[]
  /** Its piece hashes, where the repository has them. */
  readonly manifest?: { readonly infohash: string; readonly pieces: number; readonly pieceLength: Bytes }
}

export interface Place {
  readonly name: string
  /** git-annex's cost; undefined for what cannot be read from. */
  readonly cost?: number
  readonly trust?: AnnexRemote['trust']
  /** Why it cannot be used. */
  readonly unusable?: string
}

/** Added by lib/sources/annex.ts to the cost of what is not trusted, or read by git-annex itself. */
const SURCHARGES = 10_000
const MOST_PLACES = 200

/** @throws AnnexfsError IS_A_DIRECTORY. */
export async function whereaboutsOf(node: Node<Content>, path: string, deps: Deps): Promise<Whereabouts> {
  if (node.kind !== 'file') {
    throw new AnnexfsError(node.kind === 'dir' ? 'IS_A_DIRECTORY' : 'INVALID', `${path} is not a file`)
  }
  const { content } = node
  const facts = await attributesOf(node, deps)
  const fact = (name: string): string | undefined => facts.get(`user.annexfs.${name}`)
  const size = fact('size')
  const about = {
    path,
    size: size === undefined ? node.size : Number(size),
    cached: Number(fact('cached') ?? 0),
    verified: (fact('verified') ?? 'none') as Assurance,
  }
  switch (content.kind) {
    case 'blob':
      return { ...about, kind: 'git', places: [{ name: 'git (in the repository itself)' }] }
    case 'torrent':
      return torrentPlaces(content, about, deps)
    case 'key':
      return keyPlaces(content, about, deps)
  }
}

type About = Pick<Whereabouts, 'path' | 'size' | 'cached' | 'verified'>

async function torrentPlaces(content: TorrentContent, about: About, deps: Deps): Promise<Whereabouts> {
  const metainfo = await content.torrent.load()
  const { torrents } = await deps.swarm.status()
  const peers = torrents.find((one) => one.infohash === metainfo.infohash)?.peers.length
  const swarm = { name: peers === undefined ? 'swarm' : `swarm (${peers} peers connected)` }
  const seeds = deps.webSeeds ? metainfo.webSeeds.map((url) => ({ name: `web seed (${shownUrl(url)})` })) : []
  return { ...about, kind: 'torrent', infohash: metainfo.infohash, places: [swarm, ...seeds].slice(0, MOST_PLACES) }
}

async function keyPlaces(content: KeyContent, about: About, deps: Deps): Promise<Whereabouts> {
  const { annex, key } = content
  const [found, remotes, object, { metainfo }] = await Promise.all([
    sourcesForKey({ annex, key, stores: deps.stores.of(annex), log: deps.log }),
    annex.remotes(),
    annex.objectPath(key),
    deps.manifests.find(content),
  ])
  for (const source of found.sources) source.close?.()
  const trustOf = (name: string): Pick<Place, 'trust'> => {
    const remote = name.startsWith('web (')
      ? remotes.find((one) => one.uuid === WEB_UUID)
      : remotes.find((one) => name === `${one.name} (${one.kind})` || name.startsWith(`${one.name} (${one.kind}, `))
    return remote === undefined ? {} : { trust: remote.trust }
  }
  const places: Place[] = [
    ...(object === undefined ? [] : [{ name: 'the repository itself', cost: 0 }]),
    ...found.sources.map(({ name, cost }) => ({ name, cost: cost % SURCHARGES, ...trustOf(name) })),
    ...found.torrents.map(({ url, file }) => ({ name: `torrent (${shownUrl(url)}, file ${file})` })),
    ...found.unsupported.map(({ source, reason }) => ({ name: source, unusable: reason, ...trustOf(source) })),
    ...found.elsewhere.map(({ source, reason }) => ({ name: source, unusable: reason })),
  ]
  return {
    ...about,
    kind: 'annexed',
    key: displayKey(key),
    places: places.slice(0, MOST_PLACES),
    ...(metainfo !== undefined && {
      manifest: {
        infohash: metainfo.infohash,
        pieces: pieceCount(metainfo.space),
        pieceLength: metainfo.space.pieceLength,
      },
    }),
  }
}
