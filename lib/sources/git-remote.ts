import { reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Bytes } from '../space/space.js'
import type { Disk } from './disk.js'

/** A repository's configuration is a few lines; ones this long are not. */
const LARGEST_CONFIG: Bytes = 1024 * 1024

/** Where another repository on this machine keeps its annexed objects. */
export interface ForeignRepository {
  /** Its `annex.uuid`; undefined when git-annex was never used there. */
  readonly uuid: string | undefined
  /** `<git directory>/annex/objects`. */
  readonly objects: string
}

/**
 * Looks at the repository in `folder` (with a work tree, bare, or a linked work tree) by reading its files: running git
 * or git-annex there would obey its configuration, and git-annex would write to it. Undefined when there is none.
 */
export async function foreignRepository(folder: string, log: Log, disk: Disk): Promise<ForeignRepository | undefined> {
  for (const gitDir of [await pointedTo(folder, `${folder}/.git`, 'gitdir: '), `${folder}/.git`, folder]) {
    if (gitDir === undefined) continue
    const common = (await pointedTo(gitDir, `${gitDir}/commondir`, '')) ?? gitDir
    const config = await smallFile(`${common}/config`, log, disk)
    if (config !== undefined) return { uuid: annexUuid(config), objects: `${common}/annex/objects` }
  }
  return undefined

  async function pointedTo(base: string, path: string, prefix: string): Promise<string | undefined> {
    const text = (await smallFile(path, log, disk))?.trim()
    if (text === undefined || !text.startsWith(prefix) || text.includes('\n') || text.includes('\0')) return undefined
    const target = text.slice(prefix.length)
    return target.startsWith('/') ? target : `${base}/${target}`
  }
}

/** `annex.uuid` of a git configuration (git-config(1), "Syntax"); included files are not read. */
export function annexUuid(config: string): string | undefined {
  let section = ''
  let uuid: string | undefined
  for (const line of config.split('\n')) {
    const header = /^\s*\[([^\]]*)\]\s*(.*)$/.exec(line)
    if (header !== null) section = (header[1] ?? '').trim().toLowerCase()
    const setting = /^\s*uuid\s*=\s*"?([^"#;]*)"?/i.exec(header?.[2] ?? line)
    if (section === 'annex' && setting !== null) uuid = (setting[1] ?? '').trim()
  }
  return uuid === '' ? undefined : uuid
}

async function smallFile(path: string, log: Log, disk: Disk): Promise<string | undefined> {
  try {
    const file = await disk.open(path, undefined)
    if (file === undefined) return undefined
    try {
      return file.size > LARGEST_CONFIG ? undefined : Buffer.from(await file.read(0, file.size)).toString('utf8')
    } finally {
      file.close()
    }
  } catch (error) {
    log.debug('a file of a git remote cannot be read', { path, reason: reasonOf(error) })
    return undefined
  }
}
