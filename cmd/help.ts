import { wrapWords } from './columns.js'
import type { Given, OptionSpec } from './options.js'
import { version } from './version.js'

/** A command of the program. Its table of options parses the command line and is its help. */
export interface Command {
  readonly name: string
  /** One line. */
  readonly summary: string
  /** What follows `annexfs NAME`. */
  readonly usage: readonly string[]
  readonly description: string
  readonly options: readonly OptionSpec[]
  /** Named by the next word; each has its own options and help. Its `name` begins with the name of this one. */
  readonly subcommands?: readonly Command[]
  /** @returns the exit code. */
  run(given: Given, argv: readonly string[]): Promise<number>
}

const WIDTH = 80

export function mainHelp(commands: readonly Command[]): string {
  const rows = commands.map((one) => row(`  ${one.name}`, 14, one.summary)).join('')
  return `annexfs ${version()}: git-annex repositories and torrents as ordinary files, before any
of it was downloaded

Usage: annexfs COMMAND [ARGUMENTS]

Commands:
${rows}
  annexfs COMMAND --help tells the rest; --version prints the version.

A SOURCE is a git-annex repository (its folder), a clone URL, a folder of
.torrent and .magnet files, a .torrent file, or a magnet link.

Exit codes:
  0  done
  1  something failed that none of the following names
  2  the command line is wrong
  3  a SOURCE, path or mount is not there, or is not what it should be
  4  content cannot be had now: no source has it, or the deadline has passed
  5  what came, or what is cached, is not what it should be
  6  something of the system is missing or failed (see annexfs doctor)
`
}

export function helpOf(command: Command): string {
  const usage = command.usage.map((line, index) =>
    `${index === 0 ? 'Usage: ' : '       '}annexfs ${command.name} ${line}`.trimEnd(),
  )
  const options = command.options.map(optionRow).join('')
  const below = (command.subcommands ?? [])
    .map((one) => row(`  ${one.name.slice(command.name.length + 1)}`, 12, one.summary))
    .join('')
  if (below !== '')
    return `${usage.join('\n')}\n\n${wrap(command.description, WIDTH).join('\n')}\n\nCommands:\n${below}`
  return `${usage.join('\n')}\n\n${wrap(command.description, WIDTH).join('\n')}\n${
    options === '' ? '' : `\nOptions:\n${options}`
  }\nSizes: 64MiB, 10GB, 1048576. Times: 30s, 2m.\n`
}

function optionRow(spec: OptionSpec): string {
  const value = spec.value === undefined ? '' : ` ${spec.value}`
  const notes = [
    spec.several === true ? 'may be given several times' : '',
    spec.fallback === undefined ? '' : `default: ${spec.fallback}`,
  ]
  const extra = notes.filter((note) => note !== '').join('; ')
  const short = spec.short === undefined ? '' : `-${spec.short}, `
  return row(`  ${short}--${spec.name}${value}`, 26, `${spec.help}${extra === '' ? '' : ` (${extra})`}`)
}

function row(left: string, indent: number, text: string): string {
  const lines = wrap(text, WIDTH - indent)
  const first = left.length < indent ? [] : [left]
  const padded = lines.map((line, index) =>
    index === 0 && first.length === 0 ? `${left.padEnd(indent)}${line}` : `${' '.repeat(indent)}${line}`,
  )
  return `${[...first, ...padded].join('\n')}\n`
}

function wrap(text: string, width: number): string[] {
  return text.split('\n').flatMap((paragraph) => wrapWords(paragraph, width))
}
