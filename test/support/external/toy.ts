import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseKey, type Key } from '../../../lib/annex/key.js'
import { AnnexRepository } from '../../../lib/annex/repository.js'
import { openPieceStore } from '../../../lib/cache/open.js'
import { GitRepository } from '../../../lib/git/repository.js'
import { silentLog, textLog, type Log } from '../../../lib/log/log.js'
import { HttpClient } from '../../../lib/net/http-client.js'
import type { Bytes } from '../../../lib/space/space.js'
import type { StoreContext } from '../../../lib/stores/context.js'
import type { ObjectName, ObjectStore } from '../../../lib/stores/store.js'
import { AnnexWorld, annexWorld } from '../annex.js'

// Compiled tests run from an output folder; the script stays beside its source.
const SCRIPT = fileURLToPath(import.meta.url).replace(
  /dist[^/]*\/test\/support\/external\/[^/]*$/,
  'test/support/external/git-annex-remote-toy',
)

/** The same toy speaks version 1 and 2, with ASYNC, with URLs; or says nothing at all. */
export const TOYS = ['toy', 'toy2', 'toyasync', 'toyurls', 'toymute'] as const

const CACHE: Bytes = 256 * 1024 * 1024

/** A repository with a remote that is not on this machine's git, and what a store of it is made with. */
export interface RemoteWorld {
  readonly world: AnnexWorld
  /** Of the file `f`. */
  readonly key: Key
  /** The lines of the log. */
  readonly said: string[]
  /** What makes the store of the remote called `name`; `settings` go over those that it has. */
  context(name: string, settings?: Readonly<Record<string, string>>): Promise<StoreContext>
  /** Notes that the toy made, without the numbers of its processes. */
  notes(folder?: string): Promise<string[]>
  /** The processes of the toy that still run. */
  living(folder?: string): Promise<number[]>
}

/** The toys are in the PATH from now on, for this process and for git-annex. */
export async function toyWorld(t: TestContext, content: Uint8Array): Promise<RemoteWorld> {
  const world = await annexWorld(t)
  const bin = join(world.folder, 'bin')
  await mkdir(bin)
  for (const toy of TOYS) await symlink(SCRIPT, join(bin, `git-annex-remote-${toy}`))
  const path = process.env['PATH']
  process.env['PATH'] = `${bin}:${path}`
  world.environment['PATH'] = process.env['PATH']
  t.after(() => {
    process.env['PATH'] = path
  })
  await world.repository('repo')
  await world.addAnnexed('repo', { f: content })
  await mkdir(join(world.folder, 'toy'))
  return remoteWorld(t, world)
}

/** The repository `repo` of a world. */
export async function remoteWorld(t: TestContext, world: AnnexWorld): Promise<RemoteWorld> {
  const raw = (await world.annex('repo', 'lookupkey', 'f')).trim()
  const key = parseKey(raw)
  if (key === undefined) throw new Error(`no key: ${raw}`)
  const said: string[] = []
  const log: Log = textLog('debug', (line) => said.push(line))
  let caches = 0
  const noted = async (folder: string): Promise<string[]> => {
    const text = await readFile(join(world.folder, folder, '.log'), 'utf8').catch(() => '')
    return text.split('\n').filter((line) => line !== '')
  }
  return {
    world,
    key,
    said,
    context: async (name, settings = {}) => {
      const git = await GitRepository.open(join(world.folder, 'repo'), silentLog)
      const annex = await AnnexRepository.open(git, silentLog)
      const remote = (await annex.remotes()).find((candidate) => candidate.name === name)
      if (remote === undefined) throw new Error(`no remote ${name}`)
      const folder = join(world.folder, `cache-${caches++}`)
      const cache = await openPieceStore({ folder, limitBytes: CACHE, minFreeBytes: 0, log: silentLog })
      const client = new HttpClient({ policy: { allows: () => true }, log: silentLog })
      t.after(async () => {
        await client.close()
        await annex.close()
        await git.close()
        await cache.close()
      })
      return {
        remote: { ...remote, config: new Map([...remote.config, ...Object.entries(settings)]) },
        annex,
        client,
        urls: client,
        credentials: () => Promise.resolve(undefined),
        folder: join(folder, 'remote'),
        scratch: cache.scratch,
        log,
        forbid: () => false,
      }
    },
    notes: async (folder = 'toy') => (await noted(folder)).map((line) => line.slice(line.indexOf(' ') + 1)),
    living: async (folder = 'toy') => {
      const started = (await noted(folder))
        .filter((line) => line.endsWith(' start'))
        .map((line) => Number.parseInt(line))
      const alive = new Set((await readdir('/proc')).map(Number))
      return started.filter((pid) => alive.has(pid))
    },
  }
}

/** The name of the object of a key. */
export function objectName(key: Key): ObjectName {
  return { key, content: key, ...(key.size === undefined ? {} : { size: key.size }) }
}

/** Bytes `[start, end)` of an object of a store. */
export async function readObject(
  store: ObjectStore,
  name: ObjectName,
  [start, end]: readonly [Bytes, Bytes],
  signal: AbortSignal = AbortSignal.timeout(60_000),
): Promise<Buffer> {
  const object = await store.open(name, signal)
  if (object === undefined) throw new Error('it is not there')
  const parts: Uint8Array[] = []
  for await (const part of object.read({ start, end }, { urgency: 'read', signal })) parts.push(part)
  return Buffer.concat(parts)
}

/** Waits until `condition` holds, for at most `most` milliseconds; says whether it does. */
export async function within(most: number, condition: () => Promise<boolean>): Promise<boolean> {
  const deadline = performance.now() + most
  while (performance.now() < deadline) {
    if (await condition()) return true
    await sleep(20)
  }
  return condition()
}

/** The processes whose parent is this one and that nobody has waited for. */
export async function zombies(): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('ps', ['--ppid', String(process.pid), '-o', 'pid=,stat=,comm='], (error, output) => {
      // ps fails when there is none at all.
      if (error !== null && output !== '') reject(error)
      else
        resolve(
          output
            .split('\n')
            .filter((line) => /^\s*\d+\s+Z/.test(line))
            .join('\n'),
        )
    })
  })
}
