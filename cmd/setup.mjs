// Makes the machine ready to build and run annexfs: Debian packages, node_modules, dist. Plain JavaScript, for it runs
// before anything is built, and needs nothing but Node.js.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readdirSync, statSync, utimesSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { COMPILERS } from './compilers.mjs'

export const root = join(dirname(fileURLToPath(import.meta.url)), '..')

const NODE_LEAST = [20, 15]

/** What annexfs needs to run: packages of which the first that Debian has is taken, and how to see that it is there. */
const NEEDS = [
  { packages: ['libfuse2t64', 'libfuse2'], isThere: hasLibfuse2 },
  { packages: ['fuse3', 'fuse'], isThere: () => hasProgram('fusermount3') || hasProgram('fusermount') },
  { packages: ['git'], isThere: () => hasProgram('git') },
  // For the native part, without which annexfs works, too: got along with the rest, or as root.
  { packages: ['tcc'], isThere: () => COMPILERS.some(hasProgram), optional: true },
]

/** Ends the process with a message that says what to do. */
function fail(message) {
  process.stderr.write(`annexfs: ${message}\n`)
  process.exit(1)
}

/**
 * Checks Node.js, installs what is missing, and builds. Quiet when there is nothing to do.
 * @param more Debian packages that are wanted besides, all in one go: each a list of alternatives.
 */
export function setup(more = []) {
  checkNode()
  const missing = NEEDS.filter((need) => !need.isThere())
  if (process.getuid() === 0 || more.length > 0 || missing.some((need) => need.optional !== true)) {
    installPackages([...missing.map((need) => need.packages), ...more])
  }
  if (!existsSync('/dev/fuse')) {
    process.stderr.write(
      'annexfs: /dev/fuse is missing, so nothing can be mounted: run `modprobe fuse`, or start the container with ' +
        '--device /dev/fuse --cap-add SYS_ADMIN\n',
    )
  }
  installModules()
  build()
}

/**
 * Installs Debian packages, where each entry names the alternatives of which one will do. As root; anybody else is told
 * the one line to run.
 */
export function installPackages(alternatives) {
  if (alternatives.length === 0) return
  if (process.getuid() !== 0) {
    const names = alternatives.map((names) => pick(names)).join(' ')
    process.stdout.write(`sudo apt-get update && sudo apt-get install -y --no-install-recommends ${names}\n`)
    process.exit(1)
  }
  if (!hasProgram('apt-get')) fail(`install these first: ${alternatives.map((names) => names.join(' or ')).join(', ')}`)
  quietly('apt-get', ['update', '-qq'])
  const names = alternatives.map((names) => pick(names))
  quietly('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...names])
}

/** True when the program is on the PATH, or where Debian puts those that only root needs. */
export function hasProgram(name) {
  const folders = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`.split(':')
  return folders.some((folder) => folder !== '' && isExecutable(join(folder, name)))
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > NODE_LEAST[0] || (major === NODE_LEAST[0] && minor >= NODE_LEAST[1])) return
  fail(`Node.js ${process.versions.node} is too old; install ${NODE_LEAST.join('.')} or newer`)
}

function hasLibfuse2() {
  const cached = spawnSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' })
  if (cached.status === 0 && cached.stdout.includes('libfuse.so.2 ')) return true
  const triplet = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[process.arch] ?? process.arch
  return [`/lib/${triplet}`, `/usr/lib/${triplet}`, '/lib64', '/usr/lib64', '/usr/lib', '/lib', '/usr/local/lib'].some(
    (folder) => existsSync(join(folder, 'libfuse.so.2')),
  )
}

/** The first of the names that the package lists have; the last one where they cannot be asked. */
function pick(names) {
  if (names.length === 1) return names[0]
  return (
    names.find((name) => {
      const policy = spawnSync('apt-cache', ['policy', name], {
        encoding: 'utf8',
        env: { ...process.env, LC_ALL: 'C' },
      })
      return policy.status === 0 && /Candidate: (?!\(none\))/.test(policy.stdout)
    }) ?? names.at(-1)
  )
}

function installModules() {
  const lock = join(root, 'package-lock.json')
  const installed = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(lock)) return
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return
  quietly('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
}

function build() {
  const stamp = join(root, 'dist', '.tsbuildinfo')
  if (existsSync(stamp) && statSync(stamp).mtimeMs >= newest()) return
  const built = spawnSync(process.execPath, [join(root, 'cmd', 'build.mjs')], { cwd: root, stdio: 'inherit' })
  if (built.status !== 0) process.exit(built.status ?? 1)
  // The compiler leaves it alone when nothing that it reads has changed.
  const now = new Date()
  if (existsSync(stamp)) utimesSync(stamp, now, now)
}

/** When the sources were changed last. */
function newest() {
  let latest = Math.max(...['package-lock.json', 'tsconfig.json'].map((name) => modified(join(root, name))))
  for (const folder of ['lib', 'cmd', 'test', 'bench']) {
    if (!existsSync(join(root, folder))) continue
    for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
      // A folder's own time changes when a file is added or removed.
      if (entry.isDirectory() || /\.(ts|c)$/.test(entry.name)) {
        latest = Math.max(latest, modified(join(entry.parentPath ?? entry.path, entry.name)))
      }
    }
  }
  return latest
}

function modified(path) {
  return existsSync(path) ? statSync(path).mtimeMs : 0
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    // Not there, or not for us: either way it cannot be run.
    return false
  }
}

/** Runs a program; its output is shown only when it fails, and then this process ends. */
function quietly(program, args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const result = spawnSync(program, args, { cwd: root, env, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })
  if (result.status === 0) return
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`)
  fail(`\`${program} ${args.join(' ')}\` failed${result.error === undefined ? '' : `: ${result.error.message}`}`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setup()
