import { lstat, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runGit } from '../lib/git/process.js'
import { findRepository } from '../lib/git/repository.js'
import type { Bytes } from '../lib/space/space.js'
import { statsAt } from '../lib/stats-at.js'
import { settingOfTexts, type Schema, type Setting } from './config-schema.js'

/** As lib/git bounds a configuration. */
const LONGEST_CONFIG: Bytes = 16 * 1024 * 1024
const LIMITS = { maxOutput: LONGEST_CONFIG, timeout: 30_000 }
const PREFIX = 'annexfs.'

interface Found {
  readonly name: string
  readonly values: string[]
  readonly origin: string
}

/** Settings of git's own configuration: of the user (`git config --global`) and of the system. */
export async function readGitSettings(
  schema: Schema,
): Promise<{ user: readonly Setting[]; system: readonly Setting[] }> {
  let listing: Buffer
  try {
    listing = await runGit(['config', '--list', '-z', '--show-scope', '--show-origin'], LIMITS)
  } catch {
    // Without git, or with a configuration that git cannot read: whatever needs git says so itself, and better.
    return { user: [], system: [] }
  }
  const scopes = { global: new Map<string, Found>(), system: new Map<string, Found>() }
  const parts = listing.toString('utf8').split('\0')
  for (let i = 0; i + 2 < parts.length; i += 3) {
    const [scope = '', origin = '', item = ''] = parts.slice(i, i + 3)
    if (scope === 'global' || scope === 'system') take(scopes[scope], item, origin.replace(/^file:/, ''))
  }
  return { user: settings(schema, scopes.global), system: settings(schema, scopes.system) }
}

/**
 * Settings of the repository at `path`, from its own `config` alone: what that includes may be files that were
 * committed, which are anybody's.
 * @returns a string, for the user, when somebody else than the user can write that file: nothing of it counts then.
 */
export async function readRepositorySettings(schema: Schema, path: string): Promise<readonly Setting[] | string> {
  const places = await findRepository(path)
  if (places === undefined) return []
  const file = join(places.commonDir, 'config')
  const stats = await statsAt(file, 'show')
  if (stats?.isFile() !== true) return []
  let listing: Buffer
  try {
    // The name of a section stands in it as it is, without regard to case: most have none of ours, and git need not be asked.
    if (!/annexfs/i.test(await readFile(file, 'latin1'))) return []
    listing = await runGit(['config', '--file', file, '--no-includes', '--list', '-z'], LIMITS)
  } catch {
    // As above: opening the repository tells what is wrong with its configuration.
    return []
  }
  const found = new Map<string, Found>()
  for (const item of listing.toString('utf8').split('\0')) take(found, item, file)
  if (found.size === 0) return []
  const folder = await lstat(places.commonDir)
  const mine = [stats, folder].every((one) => one.uid === process.getuid?.() && (one.mode & 0o002) === 0)
  if (!mine) {
    return `${file} is not yours alone, so its annexfs settings do not count; set them in annexfs.toml instead`
  }
  return settings(schema, found)
}

function take(found: Map<string, Found>, item: string, origin: string): void {
  const newline = item.indexOf('\n')
  const name = newline < 0 ? item : item.slice(0, newline)
  if (!name.startsWith(PREFIX)) return
  const own = name.slice(PREFIX.length)
  // A name without `=` means true.
  const value = newline < 0 ? 'true' : item.slice(newline + 1)
  const existing = found.get(own)
  if (existing === undefined) found.set(own, { name: own, values: [value], origin })
  else found.set(own, { name: own, values: [...existing.values, value], origin })
}

/** git knows names without regard to case and people write them as `cacheSize`: dashes do not count. */
function settings(schema: Schema, found: ReadonlyMap<string, Found>): readonly Setting[] {
  const names = new Map<string, string>()
  for (const [name, spec] of schema) {
    names.set(name.replaceAll('-', ''), name)
    const bare = name.startsWith('no-') ? name.slice(3) : `no-${name}`
    if (spec.value === undefined && !schema.has(bare)) names.set(bare.replaceAll('-', ''), bare)
  }
  return [...found.values()].map(({ name, values, origin }) =>
    settingOfTexts(schema, names.get(name.replaceAll('-', '')) ?? name, values, `${origin}: ${PREFIX}${name}`),
  )
}
