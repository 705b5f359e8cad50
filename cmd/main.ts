import { isAnnexfsError, reasonOf } from '../lib/errors.js'
import { jsonLog } from '../lib/log/log.js'
import { cacheCommand } from './cache.js'
import { catCommand } from './cat.js'
import { completionCommand } from './completion.js'
import { configCommand } from './config.js'
import { configured, withOrigin, type ConfiguredGiven } from './config-layers.js'
import { givenArguments } from './daemon.js'
import { doctorCommand } from './doctor.js'
import { EXIT, exitCodeOf } from './exit-codes.js'
import { evictCommand } from './evict.js'
import { getCommand } from './get.js'
import { helpOf, mainHelp, type Command } from './help.js'
import { lsCommand } from './ls.js'
import { manifestCommand } from './manifest.js'
import { mountCommand } from './mount.js'
import { serveCommand } from './serve.js'
import { stopCommand } from './stop.js'
import { commandLog } from './open.js'
import { statusCommand } from './status.js'
import { pinCommand, unpinCommand } from './pin.js'
import { prefetchCommand } from './prefetch.js'
import { complain } from './tell.js'
import { torrentCommand } from './torrent.js'
import { uiCommand } from './ui.js'
import { unmountCommand } from './unmount.js'
import { whereisCommand } from './whereis.js'
import { version } from './version.js'
import { parseArguments } from './options.js'

const COMMANDS: readonly Command[] = [
  mountCommand,
  unmountCommand,
  serveCommand,
  stopCommand,
  statusCommand,
  uiCommand,
  lsCommand,
  catCommand,
  getCommand,
  whereisCommand,
  prefetchCommand,
  pinCommand,
  unpinCommand,
  evictCommand,
  cacheCommand,
  manifestCommand,
  torrentCommand,
  configCommand(() => COMMANDS),
  doctorCommand,
  completionCommand(() => COMMANDS),
]

function findCommand(name: string, next: string | undefined): Command | undefined {
  const command = COMMANDS.find((one) => one.name === name)
  return command?.subcommands?.find((one) => one.name === `${name} ${next}`) ?? command
}

function noCommand(name: string): number {
  complain(`there is no command ${JSON.stringify(name)}; see annexfs --help`)
  return EXIT.usage
}

async function main(argv: readonly string[]): Promise<number> {
  const name = argv[0]
  let rest = argv.slice(1)
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    const command = findCommand(rest[0] ?? '', rest[1])
    if (name === 'help' && command === undefined && rest[0] !== undefined) return noCommand(rest[0])
    process.stdout.write(command === undefined ? mainHelp(COMMANDS) : helpOf(command))
    return name === undefined ? EXIT.usage : EXIT.ok
  }
  if (name === '--version' || name === '-V') {
    process.stdout.write(`annexfs ${version()}\n`)
    return EXIT.ok
  }
  const command = findCommand(name, rest[0])
  if (command === undefined) return noCommand(name)
  if (command.name !== name) rest = rest.slice(1)
  const end = rest.indexOf('--')
  if (rest.slice(0, end < 0 ? undefined : end).some((argument) => argument === '--help' || argument === '-h')) {
    process.stdout.write(helpOf(command))
    return EXIT.ok
  }
  let given: ConfiguredGiven | undefined
  try {
    const { notices, ...found } = await configured(parseArguments(rest, command.options), command, COMMANDS)
    given = found.given
    for (const notice of notices) commandLog(given).warn(notice)
    return await command.run(given, rest)
  } catch (failure) {
    const error = given === undefined ? failure : withOrigin(failure, given)
    if (given?.get('log-format') === 'json') {
      jsonLog('error', (line) => process.stderr.write(line)).error(reasonOf(error))
      return exitCodeOf(error)
    }
    complain(reasonOf(error))
    if (isAnnexfsError(error, 'USAGE')) process.stderr.write(`See annexfs ${command.name} --help\n`)
    if (!isAnnexfsError(error) && process.env['ANNEXFS_DEBUG'] !== undefined) console.error(error)
    return exitCodeOf(error)
  }
}

async function run(): Promise<number> {
  try {
    return await main(await givenArguments())
  } catch (error) {
    complain(reasonOf(error))
    return exitCodeOf(error)
  }
}

// Whoever reads our output may stop reading: `annexfs cat … | head` is not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failed)
})

/** What is over must end, whatever a server or a library still holds open; output has this long to drain. */
const LINGER = 2_000

// No await: what is loaded from a code cache is a script, which cannot have it here.
void run().then((code) => {
  process.exitCode = code
  setTimeout(() => process.exit(), LINGER).unref()
})
