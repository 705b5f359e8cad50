import { basename } from 'node:path'
import { isOwn } from '../annex/command.js'
import { AnnexfsError } from '../errors.js'
import { plainEnvironment } from '../git/environment.js'
import type { StoreContext } from './context.js'
import { destination, type SshAddress } from './ssh-address.js'

/** The ssh program of the user, and how it is used for one remote. */
export interface SshSettings {
  /** The program, or the user's own shell words for it. */
  readonly program: { readonly file: string } | { readonly words: string }
  /** How it takes options: as OpenSSH, as PuTTY's plink, or not at all (git-config(1), `ssh.variant`). */
  readonly variant: 'ssh' | 'plink' | 'simple'
  /** The user's own options for this remote. */
  readonly options: readonly string[]
  /** Connections may be shared (`annex.sshcaching`). */
  readonly caching: boolean
  /** The user's words for git-annex-shell at the host. */
  readonly annexShell: string
  /** How rsync is to reach the host (`annex-rsync-transport`), in words; `ssh` and its options. */
  readonly transport: readonly string[]
}

/** How long a shared connection outlives the last that used it, when nobody is left to end it, in seconds. */
const PERSIST = 10

/** No question, terminal, nor anything of the user's forwarded; a line that is dead is found out within 15 s. */
const QUIET: readonly string[] = [
  '-o',
  'BatchMode=yes',
  '-T',
  '-x',
  '-a',
  '-o',
  'ClearAllForwardings=yes',
  '-o',
  'ServerAliveInterval=5',
  '-o',
  'ServerAliveCountMax=3',
]

/** The environment of ssh: the user's, but for secrets that are none of its business, and without questions. */
export function sshEnvironment(): NodeJS.ProcessEnv {
  return { ...plainEnvironment(), SSH_ASKPASS_REQUIRE: 'never', GIT_TERMINAL_PROMPT: '0' }
}

/** Gives settings of the git configuration; empty when they are not set, or not to be obeyed. */
export interface Settings {
  /** Of the repository, by its full name in lower case. */
  readonly get: (name: string) => string
  /** Of the remote, by the name below `remote.NAME.`. */
  readonly own: (name: string) => string
}

/**
 * Settings that can name programs to run. They are taken from the git configuration alone, never from the git-annex
 * branch, which anybody may have written. For the same reason a repository of another user has no say, as with git's
 * `safe.directory`.
 * @throws AnnexfsError SYSTEM when the configuration cannot be read.
 */
export async function trustedSettings({ annex, remote, log }: StoreContext): Promise<Settings> {
  const config = await annex.git.config()
  const below = remote.configured ? config.under('remote', remote.name) : new Map<string, string>()
  const { gitDir } = annex.git
  const trusted = await isOwn(annex.git)
  const trustedOnly = (setting: string, value: string | undefined): string => {
    if (value === undefined || value === '' || trusted) return value ?? ''
    log.warn('a setting of a repository of another user is not used', { setting, repository: gitDir })
    return ''
  }
  return {
    get: (name) => trustedOnly(name, config.get(name)),
    own: (name) => trustedOnly(name, below.get(name)),
  }
}

/**
 * Reads the settings for ssh: those of git (GIT_SSH_COMMAND, `core.sshCommand`, GIT_SSH, `ssh.variant`; git(1)) and of
 * git-annex (`annex-ssh-options`, `annex-shell`, `annex.sshcaching`).
 * @throws AnnexfsError SYSTEM when the configuration cannot be read, INVALID.
 */
export async function sshSettings(context: StoreContext): Promise<SshSettings> {
  const { annex, remote } = context
  const { get, own } = await trustedSettings(context)
  const words = process.env['GIT_SSH_COMMAND'] || get('core.sshcommand')
  const file = process.env['GIT_SSH'] || 'ssh'
  const variant = process.env['GIT_SSH_VARIANT'] || get('ssh.variant')
  const annexShell = own('annex-shell') || 'git-annex-shell'
  if (/[\r\n\0]/.test(annexShell)) {
    throw new AnnexfsError('INVALID', `remote.${remote.name}.annex-shell has a line break in it`)
  }
  return {
    program: words === '' ? { file } : { words },
    variant: variantOf(variant, words === '' ? file : (splitWords(words)[0] ?? '')),
    options: splitWords(own('annex-ssh-options')),
    caching: (await annex.git.config()).bool('annex.sshcaching') !== false,
    annexShell,
    transport: splitWords(own('annex-rsync-transport')),
  }
}

function variantOf(named: string, program: string): SshSettings['variant'] {
  const name = named === '' || named === 'auto' ? basename(program).replace(/\.exe$/i, '') : named
  if (['plink', 'putty', 'tortoiseplink'].includes(name.toLowerCase())) return 'plink'
  return name === 'simple' && named === 'simple' ? 'simple' : 'ssh'
}

/** Words as a shell splits them, with quotes and backslashes, but nothing expanded. */
export function splitWords(text: string): string[] {
  const words: string[] = []
  for (const match of text.matchAll(/(?:[^\s'"\\]+|'[^']*'|"(?:[^"\\]|\\.)*"|\\.)+/gs)) {
    words.push(
      match[0].replace(/'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)/gs, (_, single?: string, double?: string, one?: string) =>
        single === undefined ? (double === undefined ? (one ?? '') : double.replace(/\\(["\\$`])/g, '$1')) : single,
      ),
    )
  }
  return words
}

/** `text` as one word for a POSIX shell. */
export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'"'"'`)}'`
}

/** What to run at the host: a command for its shell, or one of sshd's subsystems. */
export type Remote = { readonly command: string } | { readonly subsystem: string }

export interface Invocation {
  readonly file: string
  readonly args: readonly string[]
}

/**
 * The command line that runs `remote` at the host of `address`. No password, passphrase or host key is asked for.
 * @param socket where connections share a master; undefined: each is one of its own.
 */
export function sshInvocation(
  settings: SshSettings,
  address: SshAddress,
  remote: Remote,
  socket: string | undefined,
): Invocation {
  const target = destination(address)
  const what = 'command' in remote ? remote.command : remote.subsystem
  if (settings.variant === 'simple') {
    if (address.port !== undefined || 'subsystem' in remote) {
      throw new AnnexfsError('UNSUPPORTED', `the ssh program of variant "simple" takes neither ports nor subsystems`)
    }
    return withProgram(settings, [target, what])
  }
  const subsystem = 'subsystem' in remote ? ['-s'] : []
  if (settings.variant === 'plink') {
    const port = address.port === undefined ? [] : ['-P', String(address.port)]
    return withProgram(settings, [...settings.options, '-batch', '-T', ...port, ...subsystem, target, what])
  }
  const port = address.port === undefined ? [] : ['-p', String(address.port)]
  return withProgram(settings, [
    ...settings.options,
    ...settings.transport.slice(1),
    ...QUIET,
    ...(socket === undefined ? [] : sharing(socket)),
    ...port,
    ...subsystem,
    '--',
    target,
    what,
  ])
}

function sharing(socket: string): string[] {
  return ['-S', escapeTokens(socket), '-o', 'ControlMaster=auto', '-o', `ControlPersist=${PERSIST}`]
}

/** The command line that speaks to the master behind `socket`: `check` tells its process id, `exit` ends it. */
export function masterInvocation(
  settings: SshSettings,
  address: SshAddress,
  socket: string,
  request: 'check' | 'exit',
): Invocation {
  return withProgram(settings, ['-S', escapeTokens(socket), '-O', request, '--', destination(address)])
}

/** ssh_config(5), TOKENS: a percent sign in a path stands for itself when doubled. */
function escapeTokens(path: string): string {
  return path.replaceAll('%', '%%')
}

function withProgram({ program }: SshSettings, args: readonly string[]): Invocation {
  // The user's own words go to a shell as git gives them to it; our arguments never become part of its script.
  return 'file' in program
    ? { file: program.file, args }
    : { file: '/bin/sh', args: ['-c', `${program.words} "$@"`, program.words, ...args] }
}
