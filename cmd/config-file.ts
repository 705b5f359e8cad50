import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { parse, TomlError } from 'smol-toml'
import { AnnexfsError, reasonOf, systemCode } from '../lib/errors.js'
import type { Bytes } from '../lib/space/space.js'
import { settingOf, type Schema, type Setting } from './config-schema.js'

export const SYSTEM_CONFIG = '/etc/annexfs.toml'

/** `$XDG_CONFIG_HOME/annexfs/annexfs.toml`, by default below `~/.config`. */
export function userConfig(environment: NodeJS.ProcessEnv = process.env): string {
  const xdg = environment['XDG_CONFIG_HOME']
  const home = environment['HOME']
  const base = home !== undefined && home.startsWith('/') ? home : homedir()
  return join(xdg !== undefined && xdg.startsWith('/') ? xdg : join(base, '.config'), 'annexfs', 'annexfs.toml')
}

/** Room for a table for each of thousands of mounts. */
const LARGEST_CONFIG: Bytes = 1024 * 1024
/** Tables of settings that count for one SOURCE or one MOUNTPOINT only. */
const SECTIONS = ['source', 'mount'] as const

/** What a command is about, for the tables of a file. */
export interface About {
  readonly sources: readonly string[]
  readonly mountpoint: string | undefined
}

/**
 * The settings of a file that count for what the command is about: of `[mount."MOUNTPOINT"]` before those of
 * `[source."SOURCE"]` before those at the top. All of the file is checked, whatever of it counts.
 * @param trust `mine`: only the user or root may own it and nobody else write to it; undefined when it is not there.
 * `any`: named by the user; it must be there.
 * @throws AnnexfsError USAGE, with file and line, for what is wrong in it; NOT_FOUND, SYSTEM, FORBIDDEN.
 */
export async function readConfigFile(
  path: string,
  schema: Schema,
  about: About,
  trust: 'mine' | 'any',
): Promise<readonly Setting[]> {
  const text = await readText(path, trust)
  if (text === undefined) return []
  const root = parseText(path, text)
  const at = (table: readonly string[], name: string): string => `${path}:${lineOf(text, table, name)}`
  const read = (table: readonly string[], entries: object): Setting[] =>
    Object.entries(entries).map(([name, value]) => settingOf(schema, name, value, at(table, name)))
  const plain = Object.fromEntries(Object.entries(root).filter(([name]) => !isSection(name)))
  const levels: Setting[][] = [read([], plain)]
  for (const section of SECTIONS) {
    const tables = root[section]
    if (tables === undefined) continue
    if (!isTable(tables)) {
      throw new AnnexfsError('USAGE', `${at([], section)}: ${section} is a table: [${section}."NAME"]`)
    }
    for (const [name, entries] of Object.entries(tables)) {
      if (!isTable(entries)) {
        throw new AnnexfsError(
          'USAGE',
          `${at([section], name)}: in [${section}] there are only tables: [${section}."NAME"]`,
        )
      }
      const settings = read([section, name], entries)
      if (counts(section, name, about)) levels.push(settings)
    }
  }
  const found = new Map(levels.flat().map((setting) => [setting.name, setting]))
  return [...found.values()]
}

function counts(section: (typeof SECTIONS)[number], name: string, about: About): boolean {
  const places = section === 'source' ? about.sources : about.mountpoint === undefined ? [] : [about.mountpoint]
  return places.some((place) => place === name || (name.startsWith('/') && resolve(place) === resolve(name)))
}

async function readText(path: string, trust: 'mine' | 'any'): Promise<string | undefined> {
  let file
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    const code = systemCode(error) ?? ''
    if (trust === 'mine' && ['ENOENT', 'ENOTDIR'].includes(code)) return undefined
    throw new AnnexfsError(
      code === 'ENOENT' ? 'NOT_FOUND' : 'SYSTEM',
      `cannot read the configuration file ${path}: ${reasonOf(error)}`,
      { cause: error },
    )
  }
  try {
    const stats = await file.stat()
    if (stats.isDirectory()) throw new AnnexfsError('INVALID', `the configuration file ${path} is a folder`)
    const own = stats.uid === 0 || stats.uid === process.getuid?.()
    if (trust === 'mine' && (!own || (stats.mode & 0o002) !== 0)) {
      throw new AnnexfsError(
        'FORBIDDEN',
        `the configuration file ${path} ${own ? 'can be written by everybody' : `belongs to user ${stats.uid}`}: ` +
          `whoever writes it decides what annexfs may do. Mend it with ${own ? 'chmod o-w' : 'chown'}`,
      )
    }
    const buffer = Buffer.alloc(LARGEST_CONFIG + 1)
    let length = 0
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, null)
      length += bytesRead
      if (length > LARGEST_CONFIG) {
        throw new AnnexfsError('INVALID', `the configuration file ${path} is larger than ${LARGEST_CONFIG} bytes`)
      }
      if (bytesRead === 0) return buffer.toString('utf8', 0, length)
    }
  } finally {
    await file.close()
  }
}

function parseText(path: string, text: string): Record<string, unknown> {
  try {
    return parse(text)
  } catch (error) {
    const line = error instanceof TomlError ? error.line : 1
    const why = reasonOf(error).split('\n')[0] ?? ''
    throw new AnnexfsError(
      'USAGE',
      `${path}:${line}: ${why.replace(/^Invalid TOML document: /, 'this is not TOML: ')}`,
      {
        cause: error,
      },
    )
  }
}

/** The line where `table.name` is set; of what stands on a line of another form, that of its table, or the first. */
function lineOf(text: string, table: readonly string[], name: string): number {
  let inside: readonly string[] = []
  let nearest = 1
  for (const [index, line] of text.split('\n').entries()) {
    const header = /^\s*\[([^[\]].*)\]\s*(#.*)?$/.exec(line)?.[1]
    const key = header ?? /^\s*([^=#]+?)\s*=/.exec(line)?.[1]
    const path = key === undefined ? undefined : keyPath(key)
    if (path === undefined) continue
    const full = header === undefined ? [...inside, ...path] : path
    if (header !== undefined) inside = path
    if (startsWith(full, [...table, name])) return index + 1
    if (table.length > 0 && startsWith(full, table)) nearest = index + 1
  }
  return nearest
}

function startsWith(path: readonly string[], beginning: readonly string[]): boolean {
  return path.length >= beginning.length && beginning.every((part, index) => path[index] === part)
}

/** The parts of a dotted key, or undefined when it is none. */
function keyPath(key: string): readonly string[] | undefined {
  let value: unknown
  try {
    value = parse(`${key} = 1`)
  } catch {
    // Part of a text over several lines that only looks like a key.
    return undefined
  }
  const path: string[] = []
  while (isTable(value)) {
    const [name, inner] = Object.entries(value)[0] ?? []
    if (name === undefined) break
    path.push(name)
    value = inner
  }
  return path
}

function isSection(name: string): boolean {
  return SECTIONS.some((section) => section === name)
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}
