import { resolve } from 'node:path'
import { startDaemon } from './daemon.js'
import { EXIT } from './exit-codes.js'
import { mountArguments } from './mount-arguments.js'

async function main(): Promise<number> {
  const given = mountArguments(process.argv.slice(2))
  if (typeof given === 'string') {
    process.stderr.write(`mount.annexfs: ${given}\n`)
    return EXIT.usage
  }
  const mountpoint = resolve(given.at(-1) ?? '.')
  return startDaemon({ command: 'mount', argv: given, log: mountpoint, shown: mountpoint })
}

void main().then((code) => {
  process.exitCode = code
})
