import { AnnexfsError } from '../errors.js'
import { printable } from '../log/log.js'

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

  constructor(host: string, what: string, end: SshEnd) {
    super('UNAVAILABLE', `${what} at ${host} over ssh: ${explain(host, end)}`)
    this.end = end
  }

  /** ssh itself failed: no connection, or not let in. */
  get unconnected(): boolean {
    return this.end.code === 255
  }
}

/** Signs of what commonly goes wrong, and what to do. Case does not matter. */
const CAUSES: readonly (readonly [RegExp, (host: string) => string])[] = [
  [
    /host key verification failed|remote host identification has changed|no matching host key|host key is known/,
    (host) => `the key of the host is not known or has changed. Connect once with "ssh ${host}" and check it`,
  ],
  [
    /permission denied|too many authentication failures/,
    (host) => `no key was accepted, and passwords are not asked for. Make "ssh ${host}" work without one (ssh-agent)`,
  ],
  [/could not resolve hostname/, () => 'the host name is not known'],
  [
    /connection refused|connection timed out|no route to host|network is unreachable|operation timed out/,
    () => 'the host cannot be reached',
  ],
  [/expected repository uuid/, () => 'another repository is there now than the remote was made for'],
  [/failed to read git config|not a git repository/, () => 'there is no repository at that path'],
  [/dubious ownership/, () => 'git at the host refuses to open a repository of another user'],
  [/is not currently set up to permit|rejecting|git-annex-shell: .*not allowed/, () => 'the host does not permit it'],
]

function explain(host: string, { code, complaint }: SshEnd): string {
  const said = printable(complaint.trim().split('\n').slice(-3).join(' ').slice(-500))
  const cause = CAUSES.find(([sign]) => sign.test(complaint.toLowerCase()))?.[1](host)
  const ended = code === undefined ? 'it was ended' : code === 0 ? 'it ended early' : `it ended with exit code ${code}`
  return `${cause ?? ended}${said === '' ? '' : ` (it said: ${said})`}`
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
    /subsystem request failed|sftp-server: not found|no such file/i.test(error.end.complaint)
  )
}

export function noSubsystem(host: string, name: string): SshEnded {
  return new SshEnded(host, name, { code: 1, complaint: 'subsystem request failed' })
}
