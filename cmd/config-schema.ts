import { AnnexfsError } from '../lib/errors.js'
import type { Command } from './help.js'
import { opposite, SOURCE_OPTIONS, type OptionSpec } from './options.js'
import { parseSize, parseTime } from './units.js'

/** Commands whose options are settings; options of the others say what is to be done once. */
const SETTLED = new Set(['mount', 'serve'])
/** How a command is run, not how it behaves; `config` names the file that is being read. */
const NO_SETTINGS = new Set(['daemon', 'config'])

/** The options that may be set outside the command line, by name. */
export type Schema = ReadonlyMap<string, OptionSpec>

/** One setting, checked, and where it was found. */
export interface Setting {
  readonly name: string
  /** The texts of an option with values, or whether a switch is on. */
  readonly value: readonly string[] | boolean
  /** `/etc/annexfs.toml:3`, `ANNEXFS_VERIFY`…: for people. */
  readonly origin: string
}

export function settingsSchema(commands: readonly Command[]): Schema {
  const schema = new Map<string, OptionSpec>()
  for (const spec of [
    ...SOURCE_OPTIONS,
    ...commands.filter((one) => SETTLED.has(one.name)).flatMap((one) => one.options),
  ]) {
    if (!schema.has(spec.name) && !NO_SETTINGS.has(spec.name)) schema.set(spec.name, spec)
  }
  return schema
}

/**
 * The setting that `name = value` in a configuration file means. A switch may be written as its opposite: `dht = false`
 * is `no-dht = true`.
 * @throws AnnexfsError USAGE for an unknown name, a value of a wrong type, a size or time that is none.
 */
export function settingOf(schema: Schema, name: string, value: unknown, origin: string): Setting {
  const own = schema.get(name)
  if (own?.value !== undefined) return { name, value: texts(own, value, origin), origin }
  const spec = own ?? schema.get(opposite(name))
  if (spec === undefined || spec.value !== undefined) {
    throw new AnnexfsError(
      'USAGE',
      `${origin}: there is no setting ${JSON.stringify(name)}; annexfs config lists all that there are`,
    )
  }
  if (typeof value !== 'boolean') throw wrong(origin, name, 'true or false', value)
  return { name: spec.name, value: spec === own ? value : !value, origin }
}

/** As {@link settingOf}, for the environment and git's configuration, where all is text; `lists` are split already. */
export function settingOfTexts(schema: Schema, name: string, values: readonly string[], origin: string): Setting {
  const spec = schema.get(name)
  const last = values.at(-1) ?? ''
  if (spec?.value !== undefined) return settingOf(schema, name, spec.several === true ? values : last, origin)
  const word = last.toLowerCase()
  const on = ['true', 'yes', 'on', '1'].includes(word)
  const known = on || ['false', 'no', 'off', '0', ''].includes(word)
  return settingOf(schema, name, known ? on : last, origin)
}

function texts(spec: OptionSpec, value: unknown, origin: string): readonly string[] {
  const several = spec.several === true
  const list: readonly unknown[] = several && Array.isArray(value) ? value : [value]
  return list.map((one) => {
    const text = typeof one === 'number' && Number.isFinite(one) && one >= 0 ? String(one) : one
    if (typeof text !== 'string' || text === '') {
      throw wrong(origin, spec.name, `${several ? 'a list of texts' : 'a text'} (${spec.value ?? ''})`, one)
    }
    // Said with its place now, rather than later without.
    if (spec.value === 'SIZE') parseSize(`${origin}: ${spec.name}`, text)
    if (spec.value === 'TIME') parseTime(`${origin}: ${spec.name}`, text)
    if (spec.choices !== undefined && !spec.choices.includes(text)) {
      throw wrong(origin, spec.name, `one of ${spec.choices.join(', ')}`, text)
    }
    return text
  })
}

function wrong(origin: string, name: string, wanted: string, value: unknown): AnnexfsError {
  return new AnnexfsError('USAGE', `${origin}: ${name} wants ${wanted}, not ${shown(value)}`)
}

function shown(value: unknown): string {
  if (value instanceof Date) return 'a date'
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'a table'
  return JSON.stringify(value) ?? 'nothing'
}
