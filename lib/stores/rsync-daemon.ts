import { isUtf8 } from 'node:buffer'
import { stat, truncate, writeFile } from 'node:fs/promises'
import { displayKey } from '../annex/key.js'
import { AnnexfsError, systemCode } from '../errors.js'
import { oneLine } from '../log/one-line.js'
import type { Bytes } from '../space/space.js'
import type { StoreContext } from './context.js'
import { rsyncPaths, rsyncPlace } from './rsync-url.js'
import { runRsync, type RsyncEnd } from './rsync-run.js'
import { splitWords, trustedSettings } from './ssh-program.js'
import type { ObjectName, WholeStore } from './store.js'

/** Exit codes of rsync (rsync(1)): done; a file was not there, or could not be given. */
const DONE = 0
const PARTIAL = 23

/**
 * An rsync special remote behind an rsync daemon (`rsync://host/module/…`, `host::module/…`): whole objects by the
 * user's rsync, which goes on where an earlier try ended and compares what there was with the host's.
 *
 * Known limits. The protocol gives no ranges. Names that are not UTF-8 cannot be asked for, nor, with some
 * versions of rsync, such with both backslashes and wildcards. What is sent is not
 * encrypted; a password is taken from RSYNC_PASSWORD, or from `--password-file` in `annex-rsync-options`.
 * @throws AnnexfsError INVALID for an address that is refused, FORBIDDEN for one that only the git-annex branch names.
 */
export async function rsyncDaemonStore(context: StoreContext): Promise<WholeStore> {
  const { remote, log } = context
  const place = rsyncPlace(remote)
  if (place.how !== 'daemon' || !/^rsync:\/\/[^/]+\/[^/]/i.test(place.url)) {
    throw new AnnexfsError('INVALID', `the remote ${remote.name} names no module of an rsync daemon`)
  }
  if (/^rsync:\/\/[^/]*:[^/@]*@/i.test(place.url)) {
    throw new AnnexfsError('INVALID', `the rsyncurl of ${remote.name} has a password in it; use RSYNC_PASSWORD`)
  }
  const [, base = '', root = ''] = /^(rsync:\/\/[^/]+)(\/.*)$/is.exec(place.url) ?? []
  const { own } = await trustedSettings(context)
  const options = [...splitWords(own('annex-rsync-options')), ...splitWords(own('annex-rsync-download-options'))]
  const running = new Set<AbortController>()

  const urls = (name: ObjectName): readonly string[] =>
    rsyncPaths(root, name).map((path) => {
      // Arguments are text.
      if (isUtf8(path)) return `${base}${literally(path.toString('utf8'))}`
      throw new AnnexfsError(
        'UNSUPPORTED',
        `${displayKey(name.key)}: rsync cannot be asked for a name that is not UTF-8`,
      )
    })

  const run = async (args: readonly string[], signal: AbortSignal, watch?: () => Promise<void>): Promise<RsyncEnd> => {
    const stop = new AbortController()
    running.add(stop)
    try {
      const what = `rsync from ${remote.name}`
      return await runRsync([...options, '--no-motd', ...args], {
        what,
        signal: AbortSignal.any([signal, stop.signal]),
        ...(watch === undefined ? {} : { watch }),
      })
    } finally {
      running.delete(stop)
    }
  }

  /** Where the object is, and its size; undefined when it surely is nowhere. */
  const look = async (name: ObjectName, signal: AbortSignal): Promise<{ url: string; size: Bytes } | undefined> => {
    for (const url of urls(name)) {
      const end = await run(['--list-only', '--', url], signal)
      if (end.code === DONE) {
        const size = sizeListed(end.output)
        if (size !== undefined) return { url, size }
      } else if (end.code !== PARTIAL || !/no such file/i.test(end.complaint)) throw failure(remote.name, end)
    }
    return undefined
  }

  return {
    ordered: true,
    has: async (name, signal) => (await look(name, signal)) !== undefined,
    retrieve: async (name, file, { signal, progress }) => {
      const found = await look(name, signal)
      if (found === undefined) {
        throw new AnnexfsError('NOT_FOUND', `${displayKey(name.key)} is not at the remote ${remote.name}`)
      }
      const { url, size } = found
      const expected = name.size ?? size
      const wrong = (bytes: Bytes): AnnexfsError =>
        new AnnexfsError('CORRUPT', `${remote.name} has ${bytes} bytes of ${displayKey(name.key)}, not ${expected}`)
      if (size !== expected) throw wrong(size)
      const there = await sizeOf(file)
      // Private from its first byte on: rsync keeps the mode of what is there.
      if (there === undefined) await writeFile(file, '', { mode: 0o600 })
      // rsync would leave what is long enough as it is, without a look at it.
      else if (there >= expected) await truncate(file, 0)
      const watch = async (): Promise<void> => {
        const bytes = (await sizeOf(file)) ?? 0
        if (bytes > expected) throw wrong(bytes)
        progress(bytes)
      }
      const limits = ['--append-verify', `--max-size=${Math.max(1, expected)}`, '--timeout=60']
      const end = await run([...limits, '--', url, file], signal, watch)
      if (end.code !== DONE) throw failure(remote.name, end)
      await watch()
      const got = (await sizeOf(file)) ?? 0
      if (got !== expected) throw wrong(got)
      log.debug('transferred', { remote: remote.name, key: displayKey(name.key), bytes: got })
    },
    close: () => {
      for (const stop of running) stop.abort(new AnnexfsError('ABORTED', `the remote ${remote.name} was closed`))
      return Promise.resolve()
    },
  }
}

/** `path` so that the daemon, which expands wildcards, takes it as it is. */
function literally(path: string): string {
  return /[*?[]/.test(path) ? path.replace(/[*?[\]\\]/g, '\\$&') : path
}

/** The size of the one regular file in rsync's listing (`-rw-r--r--  1,234 2024/05/06 07:08:09 NAME`). */
function sizeListed(output: string): Bytes | undefined {
  const size = Number(/^-\S{9}\+?\s+([\d,.']+) \d{4}\/\d\d\/\d\d /m.exec(output)?.[1]?.replace(/[,.']/g, ''))
  return Number.isSafeInteger(size) ? size : undefined
}

async function sizeOf(file: string): Promise<Bytes | undefined> {
  try {
    return (await stat(file)).size
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
}

function failure(remote: string, { code, complaint }: RsyncEnd): AnnexfsError {
  const said = oneLine(complaint.trim().split('\n').slice(0, 2).join('\n')).slice(0, 500)
  return new AnnexfsError('UNAVAILABLE', `rsync from the remote ${remote} failed (exit code ${code}): ${said}`)
}
