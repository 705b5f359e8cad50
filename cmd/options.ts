import minimist from 'minimist'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { AnnexfsError } from '../lib/errors.js'
import { VERIFY_MODES, type VerifyMode } from '../lib/engine/deps.js'
import { MANIFEST_SIGNATURES } from '../lib/manifest/signatures.js'
import type { EngineOptions } from '../lib/engine/engine.js'
import type { ManifestSettings } from '../lib/engine/manifest-access.js'
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from '../lib/log/log.js'
import type { Milliseconds } from '../lib/space/space.js'
import type { QuotaSpec } from '../lib/scheduler/quota.js'
import { parseRate, parseSize, parseTime } from './units.js'

/** One option of the command line; the same table parses, and is the help text. */
export interface OptionSpec {
  readonly name: string
  /** One letter that means the same. */
  readonly short?: string
  /** What the value is called in the help; undefined for a switch. */
  readonly value?: string
  readonly help: string
  readonly fallback?: string
  /** May be given several times. */
  readonly several?: boolean
  /** The values that there are, where they are few. */
  readonly choices?: readonly string[]
}

/** Options of every command that opens a SOURCE. Each default stands beside its reason. */
export const SOURCE_OPTIONS: readonly OptionSpec[] = [
  { name: 'ref', value: 'REF', help: 'branch, tag, commit or refs/... to show instead of HEAD' },
  { name: 'cache-dir', value: 'DIR', help: 'where fetched pieces are kept (default: $XDG_CACHE_HOME/annexfs)' },
  // Room for a film and then some, and small against any disk that is mounted from.
  { name: 'cache-size', value: 'SIZE', help: 'most bytes the cache may take', fallback: '10GiB' },
  // A system without free space misbehaves long before it is full.
  { name: 'min-free', value: 'SIZE', help: 'free space to leave on the disk of the cache', fallback: '1GiB' },
  // Longer than a peer or a sleepy server needs, shorter than people wait before they kill the program.
  {
    name: 'read-timeout',
    value: 'TIME',
    help: 'a read that has not got all its bytes after this time fails',
    fallback: '30s',
  },
  {
    name: 'verify',
    value: 'MODE',
    help:
      'normal: check pieces with hashes at once, other content when it is complete; strict: return nothing before ' +
      'all of its content was checked; manifest: read no key without a manifest',
    fallback: 'normal',
    choices: VERIFY_MODES,
  },
  {
    name: 'manifest-signatures',
    value: 'MODE',
    help: 'ignore; require: use only manifests from refs whose latest commit has a good signature',
    fallback: 'ignore',
    choices: MANIFEST_SIGNATURES,
  },
  { name: 'manifest-swarm', help: 'also ask BitTorrent peers for keys with a manifest; tells them what is read' },
  { name: 'no-manifests', help: 'read keys as if there were no manifests' },
  // What a quarter of a second brings over a fast line; growing windows reach it only while reads are sequential.
  { name: 'readahead', value: 'SIZE', help: 'most bytes to fetch ahead of a sequential reader', fallback: '16MiB' },
  {
    name: 'streaming',
    value: 'on|off',
    help: 'off: fetch nothing but what is read, whatever --readahead says',
    fallback: 'on',
    choices: ['on', 'off'],
  },
  {
    name: 'budget',
    value: 'SIZE[/hour]',
    help: 'most bytes to fetch in all, or each minute, hour or day; reads beyond it fail (default: no limit)',
  },
  {
    name: 'allow-address',
    value: 'CIDR',
    help: 'let URLs of a repository or torrent reach this local or private address or block, [ADDRESS]:PORT on one port ("all": any)',
    several: true,
  },
  { name: 'recursive', help: 'clone submodules that are not here, without their content, when they are entered' },
  { name: 'learn-sizes', help: 'ask, slowly and in the background, for the size of keys that do not say theirs' },
  { name: 'peer', value: 'HOST:PORT', help: 'a BitTorrent peer to connect to', several: true },
  { name: 'port', value: 'PORT', help: 'TCP port for BitTorrent peers; 0 takes any', fallback: '0' },
  { name: 'upload-limit', value: 'SIZE', help: 'bytes a second served to peers; 0 serves nothing (default: no limit)' },
  { name: 'download-limit', value: 'SIZE', help: 'bytes a second taken from peers (default: no limit)' },
  { name: 'max-connections', value: 'N', help: 'most connections to peers', fallback: '55' },
  { name: 'no-dht', help: 'do not use the distributed hash table' },
  { name: 'no-lsd', help: 'do not look for peers on the local network' },
  { name: 'no-pex', help: 'do not exchange peers with peers' },
  { name: 'no-trackers', help: 'do not ask trackers' },
  { name: 'no-webseeds', help: 'do not use the web seeds of torrents' },
  { name: 'no-seed', help: 'serve nothing to peers' },
  { name: 'explain', help: 'log what each read that waited for more than 0.1 s waited for, source by source' },
  { name: 'log-level', value: 'LEVEL', help: LOG_LEVELS.join(', '), fallback: 'info', choices: LOG_LEVELS },
  {
    name: 'log-format',
    value: 'FORMAT',
    help: 'text: lines for people; json: an object a line',
    fallback: 'text',
    choices: LOG_FORMATS,
  },
  {
    name: 'config',
    value: 'FILE',
    help: 'read settings from this file alone (default: annexfs.toml in $XDG_CONFIG_HOME/annexfs, /etc/annexfs.toml)',
  },
]

/** What was given, still as text. */
export interface Given {
  readonly positional: readonly string[]
  get(name: string): string | undefined
  all(name: string): readonly string[]
  has(name: string): boolean
  /** Where the value of an option comes from: `command line`, `default`, a file with its line… */
  origin?(name: string): string
}

/** What the command line itself says. */
export interface Parsed extends Given {
  /** Whether the option is there, as itself or, of a switch, as its opposite. */
  says(name: string): boolean
}

/** The opposite of a switch: `--no-x` of `--x`, and the other way about. */
export function opposite(name: string): string {
  return name.startsWith('no-') ? name.slice(3) : `no-${name}`
}

/**
 * Reads `argv` by a table of options. Each switch has its opposite too, to undo what a configuration file says.
 * @throws AnnexfsError USAGE for an unknown option, a missing value, an option given twice.
 */
export function parseArguments(argv: readonly string[], specs: readonly OptionSpec[]): Parsed {
  const known = new Map(specs.map((spec) => [spec.name, spec]))
  const names = (wanted: boolean): string[] =>
    specs.filter((spec) => (spec.value !== undefined) === wanted).map((spec) => spec.name)
  const opposites = names(false)
    .map(opposite)
    .filter((name) => !known.has(name))
  const parsed = minimist(spell(argv), {
    string: ['_', ...names(true)],
    boolean: [...names(false), ...opposites].map(yes),
    alias: Object.fromEntries(specs.flatMap((spec) => (spec.short === undefined ? [] : [[spec.short, spec.name]]))),
    unknown: (argument) => {
      if (!argument.startsWith('-') || argument === '-') return true
      throw new AnnexfsError(
        'USAGE',
        `there is no option ${argument.replace(/=.*$/s, '').replace('--without-', '--no-')}`,
      )
    },
  })
  const values = (name: string): string[] => {
    const value: unknown = parsed[name]
    const list = (Array.isArray(value) ? value : [value]).filter((one): one is string => typeof one === 'string')
    if (list.includes('')) throw new AnnexfsError('USAGE', `--${name} wants a value: ${known.get(name)?.value ?? ''}`)
    if (list.length > 1 && known.get(name)?.several !== true) {
      throw new AnnexfsError('USAGE', `--${name} was given ${list.length} times; give it once`)
    }
    return list
  }
  for (const name of names(true)) values(name)
  const undone = (name: string): boolean => opposites.includes(opposite(name)) && parsed[yes(opposite(name))] === true
  for (const name of names(false)) {
    if (undone(name) && parsed[yes(name)] === true) {
      throw new AnnexfsError('USAGE', `--${name} and --${opposite(name)} say the opposite of each other; give one`)
    }
  }
  return {
    positional: parsed._,
    get: (name) => values(name)[0] ?? known.get(name)?.fallback,
    all: (name) => values(name),
    has: (name) => parsed[yes(name)] === true,
    says: (name) => parsed[yes(name)] === true || undone(name) || values(name).length > 0,
  }
}

/** minimist reads `--no-x` as `x: false`; our switches of that form are spelled without the dash on the way in. */
function yes(name: string): string {
  return name.replace(/^no-/, 'without-')
}

function spell(argv: readonly string[]): string[] {
  const end = argv.indexOf('--')
  return argv.map((argument, index) =>
    (end < 0 || index < end) && argument.startsWith('--no-') ? `--without-${argument.slice(5)}` : argument,
  )
}

/** What the options say, as the engine wants it, except for what only the caller knows. */
export type EngineSettings = Omit<EngineOptions, 'log' | 'forbid' | 'manifests'> & {
  readonly manifests: ManifestSettings
}

/** @throws AnnexfsError USAGE for values out of range. */
export function engineSettings(given: Given): EngineSettings {
  const size = (name: string): number => parseSize(`--${name}`, given.get(name) ?? '')
  const limit = (name: string): number | undefined => (given.get(name) === undefined ? undefined : size(name))
  return {
    cacheFolder: cacheFolder(given),
    cacheLimit: size('cache-size'),
    minFree: size('min-free'),
    readahead: oneOf('--streaming', given.get('streaming'), ['on', 'off']) === 'off' ? 0 : size('readahead'),
    quota: quota(given.get('budget')),
    verify: oneOf('--verify', given.get('verify') ?? 'normal', VERIFY_MODES) satisfies VerifyMode,
    manifests: {
      use: !given.has('no-manifests'),
      signatures: oneOf('--manifest-signatures', given.get('manifest-signatures'), MANIFEST_SIGNATURES),
      swarm: given.has('manifest-swarm'),
    },
    allowAddresses: given.all('allow-address'),
    ref: given.get('ref'),
    recursive: given.has('recursive'),
    learnSizes: given.has('learn-sizes'),
    explain: given.has('explain'),
    swarm: {
      peers: given.all('peer'),
      port: whole('--port', given.get('port'), 0, 65_535),
      uploadLimit: limit('upload-limit'),
      downloadLimit: limit('download-limit'),
      maxConnections: whole('--max-connections', given.get('max-connections'), 1, 10_000),
      dht: !given.has('no-dht'),
      lsd: !given.has('no-lsd'),
      pex: !given.has('no-pex'),
      trackers: !given.has('no-trackers'),
      webSeeds: !given.has('no-webseeds'),
      seed: !given.has('no-seed'),
    },
  }
}

function quota(text: string | undefined): QuotaSpec | undefined {
  return text === undefined ? undefined : parseRate('--budget', text)
}

export function logLevel(given: Given): LogLevel {
  return oneOf('--log-level', given.get('log-level'), LOG_LEVELS)
}

export function logFormat(given: Given): LogFormat {
  return oneOf('--log-format', given.get('log-format') ?? 'text', LOG_FORMATS)
}

export function readTimeout(given: Given): Milliseconds {
  return parseTime('--read-timeout', given.get('read-timeout') ?? '')
}

/** `--cache-dir`, else annexfs in the XDG cache folder. */
export function cacheFolder(given: Given): string {
  const own = given.get('cache-dir')
  if (own !== undefined) return resolve(own)
  const xdg = process.env['XDG_CACHE_HOME']
  return join(xdg !== undefined && xdg.startsWith('/') ? xdg : join(homedir(), '.cache'), 'annexfs')
}

export function whole(option: string, text: string | undefined, least: number, most: number): number {
  const number = /^\d+$/.test(text ?? '') ? Number(text) : NaN
  if (!(number >= least && number <= most)) {
    throw new AnnexfsError(
      'USAGE',
      `${option} wants a whole number from ${least} to ${most}, not ${JSON.stringify(text)}`,
    )
  }
  return number
}

export function oneOf<T extends string>(option: string, text: string | undefined, values: readonly T[]): T {
  const found = values.find((value) => value === text)
  if (found === undefined) {
    throw new AnnexfsError('USAGE', `${option} wants one of ${values.join(', ')}, not ${JSON.stringify(text)}`)
  }
  return found
}
