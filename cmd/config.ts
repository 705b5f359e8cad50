import { stringify } from 'smol-toml'
import { printable, printableJson } from '../lib/log/log.js'
import { withoutSecrets } from '../lib/log/secrets.js'
import { settingsSchema } from './config-schema.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import {
  engineSettings,
  logFormat,
  logLevel,
  readTimeout,
  SOURCE_OPTIONS,
  type Given,
  type OptionSpec,
} from './options.js'

/** What is in such an option is not shown. */
const SECRET = /(?:^|-)(?:token|password|secret|basic-auth)$/

/** `annexfs config [SOURCE... [MOUNTPOINT]]` */
export function configCommand(commands: () => readonly Command[]): Command {
  return {
    name: 'config',
    summary: 'show the settings in force, and where each of them comes from',
    usage: ['[SOURCE... MOUNTPOINT] [--json] [options]', 'SOURCE [--json] [options]'],
    description:
      'Shows every setting as annexfs.toml has it, with its origin; those for SOURCE and MOUNTPOINT when they are ' +
      'given. The first of these that has a value counts: the command line; ANNEXFS_NAME in the environment; ' +
      'annexfs.NAME in the git configuration of the repository (if it is a single SOURCE and belongs to you); ' +
      'in git config --global; $XDG_CONFIG_HOME/annexfs/annexfs.toml; git config --system; /etc/annexfs.toml; the ' +
      'default. All options of mount and serve are settings. See doc/CONFIGURATION.md.',
    get options(): readonly OptionSpec[] {
      const config = SOURCE_OPTIONS.filter((one) => one.name === 'config')
      const json = { name: 'json', help: 'an array of objects: name, value, origin' }
      return [json, ...config, ...settingsSchema(commands()).values()]
    },
    run(given) {
      // What is out of range is said as the commands themselves say it.
      engineSettings(given)
      readTimeout(given)
      logLevel(given)
      logFormat(given)
      const rows = [...settingsSchema(commands()).values()].map((spec) => rowOf(spec, given))
      if (given.has('json')) process.stdout.write(`${printableJson(rows, 2)}\n`)
      else for (const row of rows) process.stdout.write(`${line(row)}\n`)
      return Promise.resolve(EXIT.ok)
    },
  }
}

interface Row {
  readonly name: string
  /** Null: not set, and without a default that could be named. */
  readonly value: string | boolean | readonly string[] | null
  readonly origin: string
}

function rowOf(spec: OptionSpec, given: Given): Row {
  const value = spec.value === undefined ? given.has(spec.name) : valueOf(spec, given)
  const hidden = SECRET.test(spec.name) && typeof value === 'string' ? '(set)' : value
  return { name: spec.name, value: hidden, origin: given.origin?.(spec.name) ?? 'default' }
}

function valueOf(spec: OptionSpec, given: Given): Row['value'] {
  if (spec.several === true) return given.all(spec.name).map(withoutSecrets)
  return withoutSecrets(given.get(spec.name) ?? '') || null
}

/** Lines that could be put into annexfs.toml as they are. */
function line({ name, value, origin }: Row): string {
  const from = printable(origin)
  if (value === null) return `# ${name} is not set`
  return `${printable(stringify({ [name]: value }).trimEnd()).padEnd(40)} # ${from}`
}
