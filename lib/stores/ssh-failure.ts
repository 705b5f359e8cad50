import { AnnexfsError } from '../errors.js'
import { oneLine } from '../log/one-line.js'

/** How a program at the other end of ssh ended. */
export interface SshEnd {
  /** Exit code: of the program at the host, 255 for ssh's own failures, undefined when it was killed or never ran. */
  readonly code: number | undefined
  /** What it wrote to its standard error, the last of it. */
  readonly complaint: string
}

/** The connection or the program behind it ended, and why. */
export class SshEnded extends AnnexfsError {
  readonly end: SshEnd

  /** @param login what the user types to get there. */
  constructor(host: string, what: string, end: SshEnd, login = `ssh ${host}`) {
    const { reason, lasting } = explain(login, end)
    super('UNAVAILABLE', `${what} at ${host} over ssh: ${reason}`, { lasting })
    this.end = end
  }

  /** ssh itself failed: no connection, or not let in. */
  get unconnected(): boolean {
    return this.end.code === 255
  }
}

interface Cause {
  /** Case does not matter. */
  readonly sign: RegExp
  readonly means: (login: string) => string
  /** Nothing changes it but somebody who acts. */
  readonly lasting: boolean
}

/** Signs of what commonly goes wrong, of OpenSSH, PuTTY's plink and git-annex-shell, and what to do. */
const CAUSES: readonly Cause[] = [
  {
    sign: /host key verification failed|remote host identification has changed|no matching host key|host key is known|host key is not cached|host key does not match/,
    means: (login) => `the key of the host is not known or has changed. Connect once with "${login}" and check it`,
    lasting: true,
  },
  {
    sign: /permission denied \(|permission denied, please|too many authentication failures|no supported authentication methods/,
    means: (login) =>
      `no key was accepted, and passwords are not asked for. Make "${login}" work without one (ssh-agent)`,
    lasting: true,
  },
  {
    sign: /could not resolve hostname|host does not exist/,
    means: () => 'the host name is not known. Is it right (git remote -v), and is there a network?',
    lasting: true,
  },
  {
    sign: /connection refused|connection timed out|no route to host|network is unreachable|operation timed out/,
    means: () => 'the host cannot be reached',
    lasting: false,
  },
  {
    sign: /expected repository uuid/,
    means: () => 'another repository is there now than the remote was made for',
    lasting: true,
  },
  {
    sign: /failed to read git config|not a git repository/,
    means: () => 'there is no repository at that path; see git remote -v',
    lasting: true,
  },
  {
    sign: /dubious ownership/,
    means: () => 'git at the host refuses to open a repository of another user',
    lasting: true,
  },
  {
    sign: /is not currently set up to permit|rejecting|git-annex-shell: .*not allowed/,
    means: () => 'the host does not permit it',
    lasting: true,
  },
]

function explain(login: string, { code, complaint }: SshEnd): { readonly reason: string; readonly lasting: boolean } {
  const said = oneLine(complaint.trim().split('\n').slice(-3).join('\n')).slice(-500)
  const cause = CAUSES.find(({ sign }) => sign.test(complaint.toLowerCase()))
  const reason = `${cause?.means(login) ?? ended(code, said)}${said === '' ? '' : ` (it said: ${said})`}`
  return { reason, lasting: cause?.lasting ?? false }
}

function ended(code: number | undefined, said: string): string {
  if (code === undefined) return 'it was ended'
  if (code === 0) return 'it ended early'
  // What connections share is made by a process of ssh in the background, which says nothing when it loses the host.
  if (code === 255 && said === '') return 'the connection was lost, and ssh did not say why'
  return `it ended with exit code ${code}`
}

/** True when the host has no such program, or lets nothing but sftp be run: something else may work there. */
export function lacksProgram(error: unknown): boolean {
  if (!(error instanceof SshEnded)) return false
  const { code, complaint } = error.end
  return code === 127 || code === 126 || /command not found|allows sftp connections only/i.test(complaint)
}

/** True when the host lets no sftp be used, but ssh itself works. */
export function lacksSubsystem(error: unknown): boolean {
  return (
    error instanceof SshEnded &&
    /subsystem request failed|server refused to start a shell\/command|sftp-server: not found|no such file/i.test(
      error.end.complaint,
    )
  )
}

export function noSubsystem(host: string, name: string): SshEnded {
  return new SshEnded(host, name, { code: 1, complaint: 'subsystem request failed' })
}
