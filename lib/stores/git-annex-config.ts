import type { StoreContext } from './context.js'

/** What a clone must have of its own, or must not do. */
const OWN: ReadonlySet<string> = new Set([
  'annex.uuid',
  'annex.version',
  'annex.private',
  'annex.alwayscommit',
  'annex.jobs',
  'annex.thin',
  'annex.hardlink',
  'annex.supportunlocked',
  'annex.sshcaching',
  'annex.autoupgraderepository',
  'annex.synccontent',
  // Transfers in processes that we could not end; stalls are noticed here.
  'annex.stalldetection',
  'annex.adviceonfailure',
  // For the objects of the repository itself.
  'annex.freezecontent-command',
  'annex.thawcontent-command',
  'annex.secure-erase-command',
])
const OF_REMOTE: ReadonlySet<string> = new Set([
  'annex-ignore',
  'annex-stalldetection',
  'fetch',
  'push',
  'pushurl',
  'mirror',
])

const FIXED: readonly (readonly [string, string])[] = [
  // What the clone learns stays in it.
  ['annex.private', 'true'],
  ['annex.alwayscommit', 'false'],
  ['annex.hardlink', 'false'],
  ['annex.thin', 'false'],
  ['annex.supportunlocked', 'false'],
  // Connections kept in the background would outlive us.
  ['annex.sshcaching', 'false'],
]

const MOST_SETTINGS = 2_000
/** The kernel takes no longer string in an environment. */
const LONGEST_VALUE = 100_000

/**
 * The settings that git-annex needs to read from the remote: all of the user's configuration for it and for git-annex.
 * They are given through the environment, so that secrets in them reach no disk.
 */
export async function cloneSettings({ annex, remote }: StoreContext): Promise<(readonly [string, string])[]> {
  const config = await annex.git.config()
  const settings: (readonly [string, string])[] = []
  const add = (name: string): void => {
    for (const value of config.all(name)) {
      if (settings.length < MOST_SETTINGS && value.length <= LONGEST_VALUE && !value.includes('\0')) {
        settings.push([name, value])
      }
    }
  }
  for (const name of config.names('annex.')) if (!OWN.has(name)) add(name)
  const section = `remote.${remote.name}.`
  for (const name of config.names(section)) {
    const setting = name.slice(section.length)
    if (!setting.includes('.') && !OF_REMOTE.has(setting)) add(name)
  }
  return [...settings, ...FIXED]
}
