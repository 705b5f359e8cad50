export type Trust = 'trusted' | 'semitrusted' | 'untrusted' | 'dead'

/** A place that may hold keys: a git remote, a special remote, the web. */
export interface AnnexRemote {
  /** Under which locations are logged; empty for a git remote that was never asked for its own. */
  readonly uuid: string
  /** The name in the git configuration, else the one that the special remote was made with, else the uuid. */
  readonly name: string
  /** `git`, or the type of special remote: `directory`, `web`, `bittorrent`, `rsync`, `S3`, `webdav`, `external`… */
  readonly kind: string
  /** Of git remotes: where it is, with git's `insteadOf` applied and `annexUrl` preferred. */
  readonly url?: string
  /** Of directory remotes and git remotes on this machine: the folder. */
  readonly directory?: string
  /** git-annex's scale: 100 a local path, 200 the network; lower is tried first. */
  readonly cost: number
  readonly trust: Trust
  /** The setting of the remote by which the user told git-annex not to use it. */
  readonly ignore: false | 'annex-ignore' | 'annex-ignore-command'
  /** remote.log's settings, joined by those of the git configuration below `remote.NAME.` (names in lower case). */
  readonly config: ReadonlyMap<string, string>
  /** Known to this repository's git configuration, or built in; otherwise only remembered on the git-annex branch. */
  readonly configured: boolean
  /** Of another way into a store (`sameas`): the uuid of its own entry in remote.log. */
  readonly configUuid?: string
}

export const WEB_UUID = '00000000-0000-0000-0000-000000000001'
export const BITTORRENT_UUID = '00000000-0000-0000-0000-000000000002'
