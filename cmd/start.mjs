// `npm start`: makes the machine ready, then mounts what the arguments say, or shows the demonstration without any.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { join } from 'node:path'
import { root, setup } from './setup.mjs'

setup()

const given = process.argv.slice(2)
const program = given.length === 0 ? ['demo.js'] : ['annexfs.cjs', 'mount', ...given]
const child = spawn(process.execPath, [join(root, 'dist', 'cmd', program[0]), ...program.slice(1)], {
  stdio: 'inherit',
  // Threads of libfuse come and go: with an arena each, the allocator would keep three times the memory for them.
  env: { UV_THREADPOOL_SIZE: '16', MALLOC_ARENA_MAX: '2', ...process.env },
})

// The terminal sends ^C to both of us: the child unmounts, and we wait for it.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(signal, () => child.kill(signal))
child.on('error', (error) => {
  process.stderr.write(`annexfs: cannot start: ${error.message}\n`)
  process.exitCode = 1
})
child.on('exit', (code, signal) => {
  process.exitCode = code ?? 128 + (constants.signals[signal] ?? 0)
})
