import { isAnnexfsError, reasonOf } from '../lib/errors.js'
import { printable } from '../lib/log/log.js'
import { cacheCommand } from './cache.js'
import { catCommand } from './cat.js'
import { doctorCommand } from './doctor.js'
import { EXIT, exitCodeOf } from './exit-codes.js'
import { helpOf, mainHelp, type Command } from './help.js'
import { lsCommand } from './ls.js'
import { manifestCommand } from './manifest.js'
import { mountCommand } from './mount.js'
import { unmountCommand } from './unmount.js'
import { version } from './version.js'
import { parseArguments } from './options.js'

const COMMANDS: readonly Command[] = [
  mountCommand,
  unmountCommand,
  lsCommand,
  catCommand,
  cacheCommand,
  manifestCommand,
  doctorCommand,
]

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    const command = COMMANDS.find((one) => one.name === rest[0])
    process.stdout.write(command === undefined ? mainHelp(COMMANDS) : helpOf(command))
    return name === undefined ? EXIT.usage : EXIT.ok
  }
  if (name === '--version' || name === '-V') {
    process.stdout.write(`annexfs ${version()}\n`)
    return EXIT.ok
  }
  const command = COMMANDS.find((one) => one.name === name)
  if (command === undefined) {
    process.stderr.write(`annexfs: there is no command ${JSON.stringify(name)}; see annexfs --help\n`)
    return EXIT.usage
  }
  const end = rest.indexOf('--')
  if (rest.slice(0, end < 0 ? undefined : end).some((argument) => argument === '--help' || argument === '-h')) {
    process.stdout.write(helpOf(command))
    return EXIT.ok
  }
  try {
    return await command.run(parseArguments(rest, command.options), rest)
  } catch (error) {
    process.stderr.write(`annexfs: ${printable(reasonOf(error))}\n`)
    if (isAnnexfsError(error, 'USAGE')) process.stderr.write(`See annexfs ${command.name} --help\n`)
    if (!isAnnexfsError(error) && process.env['ANNEXFS_DEBUG'] !== undefined) console.error(error)
    return exitCodeOf(error)
  }
}

// Whoever reads our output may stop reading: `annexfs cat … | head` is not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failed)
})

/** What is over must end, whatever a server or a library still holds open; output has this long to drain. */
const LINGER = 2_000

process.exitCode = await main(process.argv.slice(2))
setTimeout(() => process.exit(), LINGER).unref()
