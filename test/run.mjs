// `npm test [-- FILTER…]`, `npm run test:long`: sets up, builds, runs the compiled tests, and looks that nothing is left.
// A filter is a part of a test file's path, e.g. `fuse` or `cache/store`. With ANNEXFS_MARKS=strict a mark of time that is
// missed fails its test; else it is printed beside what was measured.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { root } from '../cmd/setup.mjs'
import { setupTests } from './setup.mjs'

setupTests()
const built = spawnSync(process.execPath, [join(root, 'cmd', 'build.mjs')], { cwd: root, stdio: 'inherit' })
if (built.status !== 0) process.exit(built.status ?? 1)

const given = process.argv.slice(2)
const long = given.includes('--long')
const filters = given.filter((argument) => !argument.startsWith('--'))
const compiled = join(root, 'dist', 'test')
const files = readdirSync(compiled, { recursive: true })
  .filter((name) => name.endsWith('.test.js') && (long || !name.startsWith('long/')))
  .filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)))
  // A compiled test whose source is gone is no test any more.
  .filter((name) => sourceExists(name))
  .sort()
if (files.length === 0) {
  process.stderr.write(`no test matches ${filters.join(' ')}\n`)
  process.exit(1)
}

/** In milliseconds. A test file that does not end must not keep everybody waiting. */
const LONGEST_FILE = long ? 3_600_000 : 600_000

const before = leftovers()
const child = spawn(
  process.execPath,
  [
    '--test',
    '--test-concurrency=3',
    `--test-timeout=${LONGEST_FILE}`,
    ...files.map((name) => relative(root, join(compiled, name))),
  ],
  { cwd: root, stdio: 'inherit', env: { ...process.env, UV_THREADPOOL_SIZE: '16', NODE_ENV: 'test' } },
)
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('exit', async (code) => {
  const left = await settled()
  for (const line of left) process.stderr.write(`left behind: ${line}\n`)
  process.exitCode = left.length > 0 ? 1 : (code ?? 1)
})

/** What is left a moment after the last test: processes take some time to end. */
async function settled() {
  for (let tries = 0; ; tries++) {
    const left = leftovers().filter((line) => !before.includes(line))
    if (left.length === 0 || tries === 20) return left
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}

/** Mounts of annexfs or in folders of tests, folders of tests, and processes that run in or were given either. */
function leftovers() {
  const marks = [join(root, 'dist') + '/', join(tmpdir(), 'annexfs-test-')]
  const mounts = readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .filter((line) => / - fuse\.annexfs /.test(line) || line.split(' ')[4]?.startsWith(marks[1]))
    .map((line) => `mount ${line.split(' ')[4]}`)
  const folders = readdirSync(tmpdir())
    .filter((name) => name.startsWith('annexfs-test-'))
    .map((name) => `folder ${join(tmpdir(), name)}`)
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      const { command, folder } = describe(pid)
      const ours = marks.some((mark) => command.includes(mark)) || folder.startsWith(marks[1])
      return ours ? [`process ${pid}: ${command.slice(0, 200)}`] : []
    })
  return [...mounts, ...folders, ...processes]
}

function describe(pid) {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
    return { command, folder: command === '' ? '' : readlinkSync(`/proc/${pid}/cwd`) }
  } catch {
    // It has ended, or is of another user: nothing of ours.
    return { command: '', folder: '' }
  }
}

function sourceExists(name) {
  return existsSync(join(root, 'test', name.replace(/\.js$/, '.ts')))
}
