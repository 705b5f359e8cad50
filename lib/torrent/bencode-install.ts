import { readFileSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'
import { compatibleDecode } from './bencode-compat.js'

/**
 * Replaces `decode` in every copy of npm `bencode` that webtorrent's dependencies reach, so that no peer, tracker or DHT
 * node can hang the process. To be called before the first byte from the network is decoded. Promised, because copies
 * that are ES modules can only be had by `import()`.
 * @returns the folders of the copies, for a log or a test.
 * @throws AnnexfsError SYSTEM when a copy cannot be replaced: then nothing may be connected to the network.
 */
export async function installSafeBencode(): Promise<readonly string[]> {
  const copies = reachableCopies('webtorrent', dirname(fileURLToPath(import.meta.url)))
  for (const copy of copies) await replaceDecode(copy)
  return copies.map((copy) => copy.folder)
}

interface Package {
  readonly folder: string
  readonly version: string
  readonly entry: string
  readonly dependencies: readonly string[]
}

/** All copies of `bencode` in the dependency tree of the package `root`, as Node.js would resolve them from `from`. */
function reachableCopies(root: string, from: string): readonly Package[] {
  const first = findPackage(root, from)
  if (first === undefined) throw new AnnexfsError('SYSTEM', `the package ${root} is not installed: run npm ci`)
  const seen = new Map<string, Package>([[first.folder, first]])
  const copies = new Map<string, Package>()
  for (const item of seen.values()) {
    for (const name of item.dependencies) {
      const found = findPackage(name, item.folder)
      if (found === undefined) continue
      seen.set(found.folder, found)
      if (name === 'bencode') copies.set(found.folder, found)
    }
  }
  return [...copies.values()]
}

function findPackage(name: string, from: string): Package | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name)
    const description = readDescription(join(candidate, 'package.json'))
    if (description !== undefined) return describe(realpathSync(candidate), description)
    // Optional dependencies may be absent.
    if (dirname(folder) === folder) return undefined
  }
}

function readDescription(path: string): Record<string, unknown> | undefined {
  try {
    return record(JSON.parse(readFileSync(path, 'utf8')))
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return undefined
    throw new AnnexfsError('SYSTEM', `cannot read ${path}: ${reasonOf(error)}`, { cause: error })
  }
}

function describe(folder: string, description: Record<string, unknown>): Package {
  const exported = record(description['exports'])['import']
  const main = typeof exported === 'string' ? exported : description['main']
  const names = ['dependencies', 'optionalDependencies', 'peerDependencies'].flatMap((field) =>
    Object.keys(record(description[field])),
  )
  const version = description['version']
  return {
    folder,
    version: typeof version === 'string' ? version : '0',
    entry: typeof main === 'string' ? main : 'index.js',
    dependencies: names,
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

async function replaceDecode(copy: Package): Promise<void> {
  const style = Number.parseInt(copy.version, 10) >= 4 ? 'copies' : 'views'
  // The URL that a bare import resolves to, so that this is the very module that the others have.
  const entry = await import(pathToFileURL(entryFile(copy)).href)
  const module = record(record(entry)['default'])
  if (typeof module['decode'] !== 'function') {
    throw new AnnexfsError('SYSTEM', `bencode ${copy.version} in ${copy.folder} has no decode that can be replaced`)
  }
  module['decode'] = compatibleDecode(style)
  try {
    ;(module['decode'] as (data: unknown) => unknown)(Buffer.from('l-3:e'))
  } catch {
    // It refuses what the original hangs on: that is what was to be shown.
    return
  }
  throw new AnnexfsError('SYSTEM', `the decoder of bencode in ${copy.folder} could not be replaced`)
}

function entryFile(copy: Package): string {
  const path = join(copy.folder, copy.entry)
  return path.endsWith('.js') ? path : join(path, 'index.js')
}
