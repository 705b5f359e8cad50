import { BITTORRENT_UUID, WEB_UUID, type AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import type { Attempt } from '../errors.js'

/** Places that are recorded to have a key, and are not asked: by the user's word, or because there is no way to them. */

/** Nobody reads more of them. */
const MOST_TOLD = 64

const DEAD = 'is recorded to have it, but is dead (undone by git annex semitrust)'
const NO_REMOTE = 'of this repository (git remote add, or git annex enableremote)'

/** Why the user does not want `remote` to be used; undefined when it may be. */
function whyUnwanted({ name, ignore, trust, config }: AnnexRemote): string | undefined {
  if (ignore !== false) return `but is ignored (remote.${name}.${ignore})`
  if (trust === 'dead' && config.get('annex-trustlevel') === 'dead')
    return `but is dead (remote.${name}.annex-trustlevel)`
  return undefined
}

/** The built-in remote that URLs (`WEB_UUID`) or torrents (`BITTORRENT_UUID`) of a key belong to, when it is not to be used. */
export function unwantedUrls(
  remotes: readonly AnnexRemote[],
  uuid: typeof WEB_UUID | typeof BITTORRENT_UUID,
): Attempt | undefined {
  const remote = remotes.find((one) => one.uuid === uuid && (one.ignore !== false || one.trust === 'dead'))
  if (remote === undefined) return undefined
  const why = whyUnwanted(remote)
  return { source: remote.name, reason: why === undefined ? DEAD : `has it, ${why}` }
}

/** Those of `remotes` that the repositories `located` are, and that the user does not want to be used. */
export function unwantedRemotes(remotes: readonly AnnexRemote[], located: ReadonlySet<string>): readonly Attempt[] {
  return remotes
    .flatMap((remote) => {
      const why = located.has(remote.uuid) ? whyUnwanted(remote) : undefined
      return why === undefined ? [] : [{ source: nameOf(remote), reason: `has it, ${why}` }]
    })
    .slice(0, MOST_TOLD)
}

/**
 * The repositories `uuids`, to which there is no way. One of them may be a git remote that never told its uuid, as those do
 * not that are ignored.
 */
export async function unreachable(
  uuids: readonly string[],
  remotes: readonly AnnexRemote[],
  annex: AnnexRepository,
): Promise<readonly Attempt[]> {
  if (uuids.length === 0) return []
  const nameless = remotes.filter(({ uuid, kind, configured }) => uuid === '' && kind === 'git' && configured)
  const maybe = nameless.flatMap((remote) => {
    const why = whyUnwanted(remote)
    return why === undefined ? [] : [{ source: nameOf(remote), reason: `may have it, ${why}` }]
  })
  const reason = `has it, but is ${nameless.length === 0 ? 'not a remote' : 'none of the other remotes'} ${NO_REMOTE}`
  const others = uuids.map(async (uuid) => ({ source: (await annex.describe(uuid)) ?? uuid, reason }))
  return [...maybe.slice(0, MOST_TOLD), ...(await Promise.all(others))]
}

/** The repositories `uuids`, which are dead (git-annex-dead(1)). */
export async function deadRepositories(
  uuids: readonly string[],
  remotes: readonly AnnexRemote[],
  annex: AnnexRepository,
): Promise<readonly Attempt[]> {
  const names = new Map(remotes.filter(({ configured }) => configured).map((remote) => [remote.uuid, nameOf(remote)]))
  const others = uuids.filter((uuid) => uuid !== annex.uuid)
  const told = others.map(async (uuid) => ({
    source: names.get(uuid) ?? (await annex.describe(uuid)) ?? uuid,
    reason: DEAD,
  }))
  return Promise.all(told)
}

function nameOf({ name, kind }: AnnexRemote): string {
  return `${name} (${kind})`
}
