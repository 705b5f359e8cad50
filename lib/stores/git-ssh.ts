import { AnnexfsError, isAnnexfsError, isLasting, reasonOf } from '../errors.js'
import { printable } from '../log/log.js'
import { annexUuid } from '../sources/git-remote.js'
import { checkInside } from '../sources/range.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { StoreContext } from './context.js'
import { objectPaths } from './directory-object.js'
import { P2pConnection } from './p2p-connection.js'
import { P2pPool } from './p2p-pool.js'
import { isSshUrl, parseSshUrl, pathAtHost } from './ssh-address.js'
import { lacksProgram, lacksSubsystem, SshEnded } from './ssh-failure.js'
import { readDirectly, type DirectWay } from './ssh-direct.js'
import { SftpFiles } from './sftp-files.js'
import { hostFiles, type HostFile, type HostFiles } from './ssh-files.js'
import { SshHost } from './ssh-host.js'
import { hostObject } from './ssh-object.js'
import { shellQuote } from './ssh-program.js'
import type { ObjectName, ObjectStore, StoredObject } from './store.js'

/** A repository's configuration is a few lines; ones this long are not. */
const LARGEST_CONFIG: Bytes = 1024 * 1024
/** A read of less than this costs as much as a new session would. */
const UNIT: Bytes = 256 * 1024
/** Another repository may be at the path later: so long the answer to which it is counts. */
const TRUSTED: Milliseconds = 60_000
const LONGEST: Bytes = 16 * 1024 * 1024

/** A git remote behind ssh; `received`: the bytes that came over all its connections. */
export interface GitSshStore extends ObjectStore {
  readonly received: Bytes
  close(): Promise<void>
}

/**
 * A git remote behind ssh (`ssh://…` or `host:path`): `git-annex-shell p2pstdio` at the host, or, where there is none,
 * the object files of the repository, over sftp or a shell.
 *
 * Where the host offers sftp too, objects that nobody may write to are read as files all the same, as soon as the
 * repository there has been found to be the right one: there any range costs one round trip, and a first read waits for it
 * for up to a second rather than be broken off.
 *
 * Known limits. git-annex's protocol can start anywhere in an object, but sends all of it from there: a read in another
 * place needs another session (0.1 s and more) unless the rest is short, and of the one that is broken off up to 2 MiB,
 * the window of ssh (which no option of it makes smaller), have crossed the line for nothing. What is read this way is checked by the host at the end of an
 * object only. Sessions write transfer files below `.git/annex/transfer` at the host.
 * @throws AnnexfsError INVALID for an address that is refused, FORBIDDEN for one that only the git-annex branch names.
 */
export async function gitSshStore(context: StoreContext): Promise<GitSshStore> {
  const { remote, log } = context
  if (remote.url === undefined || !isSshUrl(remote.url)) {
    throw new AnnexfsError('INVALID', `the remote ${remote.name} has no ssh address`)
  }
  if (!remote.configured) {
    throw new AnnexfsError(
      'FORBIDDEN',
      `the remote ${remote.name} is known from the git-annex branch alone, and ssh would use your keys with a host that ` +
        `somebody else named; to use it, run: git annex enableremote ${printable(remote.name)}`,
    )
  }
  const address = parseSshUrl(remote.url)
  const host = await SshHost.of(context, address)
  const pool = new P2pPool({
    connect: async () => P2pConnection.open(await host.run({ command: command() }, 'git-annex-shell'), remote.uuid),
    silent: () => host.reconnect(),
  })
  const direct: DirectWay = { files: new SftpFiles(host), state: 'untried' }
  let files: HostFiles | undefined
  let objects: { readonly folder: string; readonly until: Milliseconds } | undefined

  function command(): string {
    const words = ['p2pstdio', address.path, context.annex.uuid ?? 'annexfs'].map(shellQuote).join(' ')
    return `${host.settings.annexShell} ${words}${remote.uuid === '' ? '' : ` --uuid ${shellQuote(remote.uuid)}`}`
  }

  const objectsFolder = async (from: HostFiles, signal: AbortSignal): Promise<string> => {
    if (objects === undefined || performance.now() > objects.until) {
      const folder = await repositoryObjects(from, pathAtHost(address), remote.uuid, signal)
      objects = { folder, until: performance.now() + TRUSTED }
    }
    return objects.folder
  }

  const openDirectly = async (name: ObjectName, signal: AbortSignal): Promise<StoredObject | undefined> => {
    try {
      const folder = await objectsFolder(direct.files, signal)
      direct.state = 'works'
      const size = name.size ?? name.key.size
      // One that may be edited in place is for git-annex to look at.
      const settled = (file: HostFile): boolean => file.settled === true
      return await hostObject(direct.files, objectPaths(folder, name), size, signal, settled)
    } catch (error) {
      if (signal.aborted) throw error
      if (direct.state === 'untried' && !mayPass(error)) direct.state = 'none'
      log.debug('objects are not read over sftp', { remote: remote.name, reason: reasonOf(error) })
      return undefined
    }
  }

  const open = async (name: ObjectName, signal: AbortSignal): Promise<StoredObject | undefined> => {
    // Lines are the frame of the protocol, and of these a key cannot have any.
    if (/[\r\n\0]/.test(name.key.raw)) return undefined
    if (files === undefined) {
      try {
        const found = direct.state === 'works' ? await openDirectly(name, signal) : undefined
        if (found !== undefined) return found
        const object = await openByProtocol(pool, name, signal)
        if (object === undefined || direct.state !== 'untried') return object
        return readDirectly(object, (looking) => openDirectly(name, looking), log)
      } catch (error) {
        if (!lacksProgram(error)) throw error
        if (files === undefined) {
          const facts = { remote: remote.name, reason: reasonOf(error) }
          log.warn('no git-annex-shell at a host: objects are read as files', facts)
        }
        files ??= hostFiles(host, log)
      }
    }
    const folder = await objectsFolder(files, signal)
    return hostObject(files, objectPaths(folder, name), name.size ?? name.key.size, signal)
  }

  return {
    open,
    get received() {
      return pool.received + direct.files.received + (files?.received ?? 0)
    },
    close: async () => {
      await Promise.all([pool.close(), direct.files.close(), files?.close()])
      await host.close()
    },
  }
}

/** False for a failure that will be there next time too: no sftp, no such path. */
function mayPass(error: unknown): boolean {
  const ended = error instanceof SshEnded && !error.unconnected && error.end.code !== undefined
  const refused = ended || lacksSubsystem(error)
  return !refused && !isLasting(error) && (isAnnexfsError(error, 'UNAVAILABLE') || isAnnexfsError(error, 'TIMED_OUT'))
}

async function openByProtocol(pool: P2pPool, name: ObjectName, signal: AbortSignal): Promise<StoredObject | undefined> {
  const { key } = name
  const known = name.size ?? key.size
  const size =
    known === undefined ? await pool.size(key, signal) : (await pool.present(key, signal)) ? known : undefined
  if (size === undefined) return undefined
  const read: StoredObject['read'] = async function* (range, demand) {
    checkInside(range, size, 'the object')
    if (range.start < range.end) yield* pool.read(key, size, range, demand.signal)
  }
  return {
    unit: UNIT,
    longest: LONGEST,
    parallel: 2,
    size,
    read,
    all: async function* (most, demand) {
      if (size > most) throw new AnnexfsError('CORRUPT', `the object has ${size} bytes, more than the ${most} allowed`)
      yield* read({ start: 0, end: size }, demand)
    },
  }
}

/** Where the repository at `path` keeps its objects, when it is the one with `uuid`. */
async function repositoryObjects(files: HostFiles, path: string, uuid: string, signal: AbortSignal): Promise<string> {
  for (const gitDir of [`${path.replace(/\/+$/, '')}/.git`, path.replace(/\/+$/, '')]) {
    const config = await smallFile(files, `${gitDir}/config`, signal)
    if (config === undefined) continue
    const found = annexUuid(config)
    if (found !== undefined && (uuid === '' || found === uuid)) return `${gitDir}/annex/objects`
    const what = found === undefined ? 'one that git-annex was never used in' : printable(found.slice(0, 100))
    const message = `the repository at ${printable(path)} is ${what} now, not ${uuid}`
    throw new AnnexfsError('UNAVAILABLE', message, { lasting: true })
  }
  throw new AnnexfsError('UNAVAILABLE', `there is no git repository at ${printable(path)}`, { lasting: true })
}

async function smallFile(files: HostFiles, path: string, signal: AbortSignal): Promise<string | undefined> {
  const file = await files.open(Buffer.from(path), signal)
  if (file === undefined) return undefined
  try {
    if (file.size > LARGEST_CONFIG) return undefined
    const parts: Uint8Array[] = []
    for await (const part of file.read({ start: 0, end: file.size }, { urgency: 'read', signal })) parts.push(part)
    return Buffer.concat(parts).toString('utf8')
  } finally {
    file.close()
  }
}
