import { AnnexfsError, isAnnexfsError } from '../lib/errors.js'
import { readConfigFile, SYSTEM_CONFIG, userConfig, type About } from './config-file.js'
import { readGitSettings, readRepositorySettings } from './config-git.js'
import { settingOfTexts, settingsSchema, type Schema, type Setting } from './config-schema.js'
import type { Command } from './help.js'
import type { Given, OptionSpec, Parsed } from './options.js'

/** A command line with everything that configuration adds to it. */
export interface Configured {
  readonly given: ConfiguredGiven
  /** What the user should know, in lines. */
  readonly notices: readonly string[]
}

export interface ConfiguredGiven extends Given {
  origin(name: string): string
}

export interface Places {
  readonly userFile: string
  readonly systemFile: string
  readonly environment: NodeJS.ProcessEnv
}

/**
 * Adds settings to what the command line says, the first of these that has one: command line, environment, the git
 * configuration of the mounted repository, of the user, the user's annexfs.toml, git's of the system, /etc/annexfs.toml,
 * default. With `--config FILE` that file stands for all of git's configuration and both annexfs.toml.
 * @throws AnnexfsError USAGE for what is wrong in them, naming file and line.
 */
export async function configured(
  parsed: Parsed,
  command: Command,
  commands: readonly Command[],
  places: Places = { userFile: userConfig(), systemFile: SYSTEM_CONFIG, environment: process.env },
): Promise<Configured> {
  const schema = settingsSchema(commands)
  const own = new Map(command.options.map((spec) => [spec.name, spec]))
  // Settings are for commands that open a SOURCE: others have options of the same name that mean something else.
  if (!own.has('config')) return { given: layered(parsed, own, []), notices: [] }
  const about = aboutOf(parsed, command)
  const layers: (readonly Setting[])[] = [environmentSettings(schema, places.environment)]
  const notices: string[] = []
  const alone = parsed.get('config') ?? nonEmpty(places.environment['ANNEXFS_CONFIG'])
  if (alone !== undefined) layers.push(await readConfigFile(alone, schema, about, 'any'))
  else {
    const [only, ...others] = about.sources
    const [repository, git] = await Promise.all([
      only !== undefined && others.length === 0 ? readRepositorySettings(schema, only) : [],
      readGitSettings(schema),
    ])
    if (typeof repository === 'string') notices.push(repository)
    else layers.push(repository)
    layers.push(git.user, await readConfigFile(places.userFile, schema, about, 'mine'))
    layers.push(git.system, await readConfigFile(places.systemFile, schema, about, 'mine'))
  }
  return { given: layered(parsed, own, layers), notices }
}

/** What the positional arguments of a command name. */
function aboutOf(parsed: Parsed, command: Command): About {
  const { positional } = parsed
  const local = (places: readonly string[]): string[] => places.filter((place) => place !== '')
  switch (command.name) {
    case 'mount':
    case 'config': {
      const mountpoint = positional.length > 1 ? positional.at(-1) : undefined
      return { sources: local(mountpoint === undefined ? positional : positional.slice(0, -1)), mountpoint }
    }
    case 'serve':
      return { sources: local(positional), mountpoint: undefined }
    case 'cache':
      return { sources: [], mountpoint: undefined }
    default:
      return { sources: local(positional.slice(0, 1)), mountpoint: undefined }
  }
}

/** `ANNEXFS_CACHE_SIZE=1GiB`, `ANNEXFS_NO_DHT=1`; lists are separated by spaces. Names that mean nothing are others'. */
function environmentSettings(schema: Schema, environment: NodeJS.ProcessEnv): readonly Setting[] {
  const found: Setting[] = []
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith('ANNEXFS_') || text === undefined || text === '') continue
    const name = variable.slice('ANNEXFS_'.length).toLowerCase().replaceAll('_', '-')
    const bare = name.startsWith('no-') ? name.slice(3) : `no-${name}`
    const spec = schema.get(name) ?? schema.get(bare)
    if (spec === undefined || (!schema.has(name) && spec.value !== undefined)) continue
    const values = spec.several === true ? text.split(/\s+/).filter((one) => one !== '') : [text]
    found.push(settingOfTexts(schema, name, values, `environment ${variable}`))
  }
  return found
}

function layered(
  parsed: Parsed,
  own: ReadonlyMap<string, OptionSpec>,
  layers: readonly (readonly Setting[])[],
): ConfiguredGiven {
  const found = new Map<string, Setting>()
  for (const setting of layers.flat()) {
    const known = own.has(setting.name) && !parsed.says(setting.name)
    if (known && !found.has(setting.name)) found.set(setting.name, setting)
  }
  const textsOf = (name: string): readonly string[] | undefined => {
    const value = found.get(name)?.value
    return typeof value === 'object' ? value : undefined
  }
  return {
    positional: parsed.positional,
    get: (name) => textsOf(name)?.[0] ?? parsed.get(name),
    all: (name) => textsOf(name) ?? parsed.all(name),
    has: (name) => (found.has(name) ? found.get(name)?.value === true : parsed.has(name)),
    origin: (name) => (parsed.says(name) ? 'command line' : (found.get(name)?.origin ?? 'default')),
  }
}

/**
 * An error about the value of an option, with the place of that value when it is not the command line: `--port wants…`
 * becomes `/etc/annexfs.toml:3: port wants…`.
 */
export function withOrigin(error: unknown, given: ConfiguredGiven): unknown {
  if (!isAnnexfsError(error, 'USAGE')) return error
  const name = /^--([a-z][a-z-]*) /.exec(error.message)?.[1]
  if (name === undefined) return error
  const origin = given.origin(name)
  if (origin === 'command line' || origin === 'default') return error
  return new AnnexfsError('USAGE', `${origin}: ${error.message.slice(2)}`, { cause: error })
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text
}
