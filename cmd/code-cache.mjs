// Rehearses a mount in this process and keeps what V8 compiled for it beside the program, for the starts to come. Without
// git, FUSE or the right to mount it ends early, and keeps what was compiled until then.
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import v8 from 'node:v8'

const dist = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist')
const SIZE = 3 * 1024 * 1024
const MOUNTED_WITHIN = 10_000
const REHEARSED_AFTER = 1_000

/** `cmd/build.mjs` runs this file as a process of its own. */
export function makeCodeCache() {
  const run = spawnSync(process.execPath, [fileURLToPath(import.meta.url)], { encoding: 'utf8', timeout: 60_000 })
  if (run.status !== 0) process.stderr.write(`annexfs: starts will take longer: ${run.stderr}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await rehearse()

async function rehearse() {
  const program = readdirSync(join(dist, 'bundle')).find((name) => /^main-.*\.cjs$/.test(name))
  if (program === undefined) return
  const folder = mkdtempSync(join(tmpdir(), 'annexfs-build-'))
  const [repository, mountpoint] = ['repository', 'mnt'].map((name) => join(folder, name))
  for (const path of [repository, mountpoint]) mkdirSync(path)
  Object.assign(process.env, {
    HOME: folder,
    XDG_CACHE_HOME: join(folder, 'cache'),
    XDG_CONFIG_HOME: join(folder, 'config'),
    XDG_STATE_HOME: join(folder, 'state'),
    GIT_CONFIG_NOSYSTEM: '1',
    UV_THREADPOOL_SIZE: '16',
  })
  const content = Buffer.alloc(SIZE, 'annexfs ')
  const server = createServer((request, response) => serve(request, response, content))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    makeRepository(repository, content, `http://127.0.0.1:${server.address().port}/file`)
  } catch {
    // Without git nothing is mounted, but as much is compiled as a start needs to say so.
  }
  // Code that was used only once is to be kept, too.
  v8.setFlagsFromString('--no-flush-bytecode')
  const options = ['--cache-dir', join(folder, 'pieces'), '--allow-address', '127.0.0.0/8', '--log-level', 'error']
  process.argv = [process.execPath, join(dist, 'cmd', 'annexfs.cjs'), 'mount', repository, mountpoint, ...options]
  const script = createRequire(import.meta.url)(join(dist, 'cmd', 'load.cjs'))('main')
  process.on('exit', () => {
    rmSync(folder, { recursive: true, force: true })
    // The flags are part of what V8 compares.
    v8.setFlagsFromString('--flush-bytecode')
    keep(join(dist, 'bundle', program.replace(/\.cjs$/, '.cache')), script.createCachedData())
    process.exitCode = 0
  })
  await use(mountpoint)
  server.close()
  process.kill(process.pid, 'SIGTERM')
}

/** Whoever looks at a mount must not be the process that serves it. */
async function use(mountpoint) {
  const end = performance.now() + MOUNTED_WITHIN
  while (!readFileSync('/proc/self/mountinfo', 'latin1').includes(` ${mountpoint} `)) {
    if (performance.now() > end || process.exitCode !== undefined) process.exit()
    await sleep(10)
  }
  const run = promisify(execFile)
  await run('ls', ['-lR', mountpoint])
  await sleep(REHEARSED_AFTER)
  await run('cat', [join(mountpoint, 'folder', 'file')], { encoding: 'buffer', maxBuffer: 2 * SIZE })
  await sleep(REHEARSED_AFTER)
}

function serve(request, response, content) {
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
  const [from, to] = range === null ? [0, SIZE - 1] : [Number(range[1]), Math.min(Number(range[2]), SIZE - 1)]
  response.writeHead(range === null ? 200 : 206, {
    ...(range !== null && { 'Content-Range': `bytes ${from}-${to}/${SIZE}` }),
    'Content-Length': to + 1 - from,
    'Accept-Ranges': 'bytes',
    ETag: '"1"',
  })
  response.end(content.subarray(from, to + 1))
}

/** As git-annex would make it: one file, which the web has. */
function makeRepository(path, content, url) {
  const key = `SHA256-s${SIZE}--${createHash('sha256').update(content).digest('hex')}`
  const hash = createHash('md5').update(key).digest('hex')
  const log = `${hash.slice(0, 3)}/${hash.slice(3, 6)}/${key}.log`
  const web = '00000000-0000-0000-0000-000000000001'
  const file = (name, text, mode = '100644') => `M ${mode} inline ${name}\ndata ${text.length}\n${text}\n`
  const commit = (branch) => `commit refs/heads/${branch}\ncommitter annexfs <annexfs@localhost> 0 +0000\ndata 0\n`
  const input = [
    commit('main'),
    file('folder/file', `../.git/annex/objects/x/y/${key}/${key}`, '120000'),
    commit('git-annex'),
    file('uuid.log', `${web} web timestamp=1s\n`),
    file(log, `1s 1 ${web}\n`),
    file(`${log}.web`, `1s 1 ${url}\n`),
  ].join('')
  execFileSync('git', ['init', '--quiet', '--initial-branch=main', path])
  execFileSync('git', ['-C', path, 'fast-import', '--quiet'], { input })
}

function keep(path, data) {
  writeFileSync(`${path}.${process.pid}`, data)
  renameSync(`${path}.${process.pid}`, path)
}
