import { execFile, fork, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { reasonOf } from '../lib/errors.js'
import { printable, textLog } from '../lib/log/log.js'
import { EXIT, exitCodeOf } from './exit-codes.js'
import { openSession, type Session } from './mount.js'
import { engineSettings, parseArguments, readTimeout, SOURCE_OPTIONS } from './options.js'
import { showSize } from './units.js'

/*
 * What `npm start` does without arguments: makes a small git-annex repository whose content is at a remote, and a torrent
 * with a seeder, in a temporary folder; mounts both; shows them and reads a little; stays mounted until Ctrl-C.
 */

const run = promisify(execFile)
const MIB = 1024 * 1024
const FILM = 64 * MIB

interface Sample {
  readonly sources: readonly string[]
  readonly options: readonly string[]
  readonly seeder: ChildProcess
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

async function main(): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'annexfs-demo-'))
  let sample: Sample | undefined
  let session: Session | undefined
  try {
    say(`Making a sample in ${folder} …`)
    sample = await makeSample(folder)
    const mountpoint = join(folder, 'mnt')
    await mkdir(mountpoint)
    const given = parseArguments([...sample.options, '--cache-dir', join(folder, 'cache')], SOURCE_OPTIONS)
    session = await openSession({
      sources: sample.sources,
      mountpoint,
      settings: engineSettings(given),
      timeout: readTimeout(given),
      allowOther: false,
      log: textLog('warn', (line) => process.stderr.write(line)),
    })
    await show(
      session,
      mountpoint,
      sample.sources.map((source) => basename(source)),
    )
    if (process.stdin.isTTY) {
      say(`\nStill mounted at ${mountpoint}: look around from another terminal. Ctrl-C unmounts and cleans up.`)
    } else {
      await session.end()
    }
    await session.ended
    say('Unmounted.')
    return EXIT.ok
  } catch (error) {
    process.stderr.write(`annexfs: ${printable(reasonOf(error))}\n`)
    await session?.end()
    await session?.ended
    return exitCodeOf(error)
  } finally {
    await stop(sample?.seeder)
    await remove(folder)
  }
}

async function makeSample(folder: string): Promise<Sample> {
  const sources: string[] = []
  const repository = join(folder, 'dataset')
  if (await has('git-annex')) {
    await makeRepository(repository, join(folder, 'remote'), folder)
    sources.push(repository)
  } else {
    say('  git-annex is not installed: the sample has only a torrent (apt-get install git-annex for the rest)')
  }
  const films = join(folder, 'films')
  const torrents = join(folder, 'torrents')
  await mkdir(films)
  await mkdir(torrents)
  await writeFile(join(films, 'film.mkv'), randomBytes(FILM))
  await writeFile(join(films, 'film.srt'), '1\n00:00:01,000 --> 00:00:04,000\nHello from the swarm.\n')
  const seeder = fork(fileURLToPath(new URL('./demo-seeder.js', import.meta.url)), [films], { stdio: 'inherit' })
  const [message] = (await once(seeder, 'message')) as [{ port: number; metainfo: string }]
  await writeFile(join(torrents, 'films.torrent'), Buffer.from(message.metainfo, 'base64'))
  sources.push(torrents)
  const options = ['--peer', `127.0.0.1:${message.port}`, '--no-dht', '--no-lsd', '--no-trackers', '--no-pex']
  return { sources, options, seeder }
}

/** A repository with one large and some small files; their content is only at a directory special remote. */
async function makeRepository(repository: string, remote: string, home: string): Promise<void> {
  await mkdir(join(repository, 'measurements'), { recursive: true })
  await mkdir(remote)
  await writeFile(join(repository, 'recording.wav'), randomBytes(FILM))
  for (let day = 1; day <= 3; day++) {
    const rows = Array.from({ length: 20_000 }, (_, i) => `${day},${i},${Math.sin(i / 100).toFixed(6)}`)
    await writeFile(join(repository, 'measurements', `day${day}.csv`), `day,second,value\n${rows.join('\n')}\n`)
  }
  await writeFile(join(repository, 'README.txt'), 'This file is in git itself; the others are annexed.\n')
  const git = (...argv: string[]): Promise<unknown> =>
    run('git', argv, { cwd: repository, env: cleanEnvironment(home) })
  await git('init', '--quiet')
  await git('annex', 'init', '--quiet', 'demo')
  await git('add', 'README.txt')
  await git('annex', 'add', '--quiet', 'recording.wav', 'measurements')
  await git('commit', '--quiet', '--message', 'A sample')
  await git('annex', 'initremote', '--quiet', 'shelf', 'type=directory', `directory=${remote}`, 'encryption=none')
  await git('annex', 'move', '--quiet', '--to', 'shelf', '.')
}

/** The user's own git configuration (signing, hooks, templates) must not meddle with the sample. */
function cleanEnvironment(home: string): NodeJS.ProcessEnv {
  const who = {
    GIT_AUTHOR_NAME: 'demo',
    GIT_AUTHOR_EMAIL: 'demo@localhost',
    GIT_COMMITTER_NAME: 'demo',
    GIT_COMMITTER_EMAIL: 'demo@localhost',
  }
  return { PATH: process.env['PATH'], HOME: home, GIT_CONFIG_NOSYSTEM: '1', LC_ALL: 'C.UTF-8', ...who }
}

async function show(session: Session, mountpoint: string, sources: readonly string[]): Promise<void> {
  say(`Mounted at ${mountpoint}:\n`)
  await command('ls', ['-lR', '.'], mountpoint)
  let read = 0
  // A single source is the mount itself, not a folder of it.
  const reads = READS.filter(([source]) => sources.includes(source))
  for (const [source, inner, offset, length] of reads) {
    const path = sources.length === 1 ? inner : `${source}/${inner}`
    const started = performance.now()
    const { stdout: bytes } = await run(
      'dd',
      [`if=${path}`, 'bs=64K', 'iflag=skip_bytes,count_bytes', `skip=${offset}`, `count=${length}`, 'status=none'],
      { cwd: mountpoint, encoding: 'buffer', maxBuffer: 16 * MIB },
    )
    read += bytes.byteLength
    say(
      `read ${showSize(bytes.byteLength)} at ${showSize(offset)} of ${path} in ${(performance.now() - started).toFixed(0)} ms`,
    )
  }
  const fetched = [...session.engine.fetched.values()].reduce((sum, bytes) => sum + bytes, 0)
  say(
    `\nRead ${showSize(read)}, fetched ${showSize(fetched)} of the ${showSize(sources.length * FILM)} and more that are there:`,
  )
  for (const [source, bytes] of session.engine.fetched) say(`  ${showSize(bytes).padStart(10)} from ${source}`)
}

/** What is read: the source, the path in it, offset and length. */
const READS: readonly (readonly [string, string, number, number])[] = [
  ['dataset', 'recording.wav', 0, 65_536],
  ['dataset', 'recording.wav', 40 * MIB, 65_536],
  ['dataset', 'measurements/day2.csv', 0, 65_536],
  ['torrents', 'films/film.mkv', 30 * MIB, 65_536],
  ['torrents', 'films/film.srt', 0, 65_536],
]

async function command(program: string, argv: readonly string[], cwd: string): Promise<void> {
  const { stdout } = await run(program, argv, { cwd })
  say(stdout.trimEnd().replace(/^/gm, '  '))
}

async function has(program: string): Promise<boolean> {
  try {
    await run(program, ['version'])
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

async function stop(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  await ended
}

async function remove(folder: string): Promise<void> {
  try {
    // git-annex takes the write bits of its objects and their folders.
    if (existsSync(join(folder, 'dataset'))) await run('chmod', ['-R', 'u+w', folder])
    await rm(folder, { recursive: true, force: true })
  } catch (error) {
    process.stderr.write(`annexfs: cannot clean up ${folder} in full: ${printable(reasonOf(error))}\n`)
  }
}

process.exitCode = await main()
