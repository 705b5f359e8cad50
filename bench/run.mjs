// `npm run bench [-- OPTIONS]`: makes the machine ready, builds, and runs the benchmark. Plain JavaScript, for it runs
// before anything is built. `--install` gets the programs that annexfs is compared with, by apt.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { hasProgram, root, setup } from '../cmd/setup.mjs'

/** Debian packages, each with what shows that it is there. */
const PACKAGES = {
  rclone: 'rclone',
  btfs: 'btfs',
  'nginx-light': 'nginx',
  'git-annex': 'git-annex',
  'python3-libtorrent': '/usr/share/doc/python3-libtorrent',
  fio: 'fio',
  ffmpeg: 'ffmpeg',
  file: 'file',
}

const given = process.argv.slice(2)
const wanted = given.includes('--install') ? Object.keys(PACKAGES).filter((name) => !isThere(PACKAGES[name])) : []
setup(wanted.map((name) => [name]))
const built = spawnSync(process.execPath, [join(root, 'cmd', 'build.mjs')], { cwd: root, stdio: 'inherit' })
if (built.status !== 0) process.exit(built.status ?? 1)

const main = join(root, 'dist', 'bench', 'main.js')
const child = spawn(process.execPath, [main, ...given.filter((argument) => argument !== '--install')], {
  stdio: 'inherit',
})
// The terminal sends ^C to both of us: the child cleans up, and we wait for it.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('exit', (code, signal) => {
  process.exitCode = code ?? 128 + (constants.signals[signal] ?? 0)
})

function isThere(mark) {
  return mark.startsWith('/') ? existsSync(mark) : hasProgram(mark)
}
