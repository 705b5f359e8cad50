// Rehearses a mount in this process and keeps what V8 compiled for it beside the program, for the starts to come. Without
// git, FUSE or the right to mount it ends early, and keeps what was compiled until then. The process of the swarm is rehearsed
// in one of its own, without network.
import { execFile, execFileSync, fork, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
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

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === 'swarm') beSwarm()
  else {
    await rehearseSwarm()
    await rehearse()
  }
}

/** With the flags of the real one, which are part of what V8 compares. */
async function rehearseSwarm() {
  if (programOf('swarm') === undefined) return
  const { SWARM_FLAGS } = await import(pathToFileURL(join(dist, 'lib', 'swarm', 'child.js')).href)
  const folder = mkdtempSync(join(tmpdir(), 'annexfs-build-'))
  const env = { UV_THREADPOOL_SIZE: '8', TMPDIR: folder }
  const child = fork(fileURLToPath(import.meta.url), ['swarm'], {
    serialization: 'advanced',
    execArgv: [...SWARM_FLAGS],
    env,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const options = {
    cache: { folder: join(folder, 'pieces'), limitBytes: SIZE, minFreeBytes: 0 },
    peers: [],
    port: 0,
    uploadLimit: 0,
    maxConnections: 1,
    dht: false,
    lsd: false,
    pex: false,
    trackers: false,
    seed: false,
    stallTimeout: 1000,
    banned: [],
  }
  try {
    child.on('message', ({ type }) => {
      // It ends when it is left alone.
      if (type === 'ready') setTimeout(() => child.connected && child.disconnect(), REHEARSED_AFTER / 2)
    })
    child.send({ type: 'start', options })
    await Promise.race([ended, sleep(MOUNTED_WITHIN, undefined, { ref: false })])
  } finally {
    child.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
}

function beSwarm() {
  v8.setFlagsFromString('--no-flush-bytecode')
  const script = loader('swarm', join(dist, 'lib', 'swarm', 'process.js'))
  process.on('exit', () => keepCode('swarm', script))
}

function loader(name, instead) {
  return createRequire(import.meta.url)(join(dist, 'lib', 'load.cjs'))(name, instead)
}

function programOf(name) {
  return readdirSync(join(dist, 'bundle')).find((file) => file.startsWith(`${name}-`) && file.endsWith('.cjs'))
}

function keepCode(name, script) {
  // The flags are part of what V8 compares.
  v8.setFlagsFromString('--flush-bytecode')
  v8.setFlagsFromString('--semi-space-growth-factor=2')
  keep(join(dist, 'bundle', programOf(name).replace(/\.cjs$/, '.cache')), script.createCachedData())
}

async function rehearse() {
  if (programOf('main') === undefined) return
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
  const script = loader('main', join(dist, 'cmd', 'main.js'))
  process.on('exit', () => {
    rmSync(folder, { recursive: true, force: true })
    keepCode('main', script)
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
