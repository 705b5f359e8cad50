import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { reasonOf } from '../lib/errors.js'
import { printable } from '../lib/log/log.js'

/*
 * The protocol of sd_notify(3): a datagram with `READY=1` to the unix socket that NOTIFY_SOCKET names. Node.js has no
 * unix datagram sockets, so a small program sends it: systemd-notify, which is wherever systemd is, or else perl, which
 * every Debian has, in a container whose manager is outside. Hence NotifyAccess=all in the unit: it is not our process
 * that speaks.
 */

/** Keeps its process for a moment: systemd looks up whose it is after the message has come. */
const PERL = `
$path = shift; $path =~ s/^@/\\0/;
socket(S, PF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
send(S, shift, 0, pack_sockaddr_un($path)) or die "send: $!";
close(STDERR); select(undef, undef, undef, 0.5);
`

/** What we know of sending takes milliseconds; systemd-notify waits until the manager has heard it. */
const PATIENCE = 10_000

/**
 * Tells the service manager, if one asked for it, that this process is ready. A failure is said on standard error: the
 * manager will believe that we are still starting.
 */
export async function tellServiceManager(): Promise<void> {
  const socket = process.env['NOTIFY_SOCKET']
  if (socket === undefined || !/^[/@]/.test(socket)) return
  const environment = { ...process.env }
  // What we start later is not us.
  delete process.env['NOTIFY_SOCKET']
  const failures: string[] = []
  for (const [program, args] of [
    ['systemd-notify', ['--ready']],
    ['perl', ['-MSocket', '-e', PERL, socket, 'READY=1']],
  ] as const) {
    const failure = await run(program, args, environment)
    if (failure === undefined) return
    failures.push(failure)
  }
  process.stderr.write(`annexfs: could not tell the service manager that it is ready: ${failures.join('; ')}\n`)
}

async function run(
  program: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  const child = spawn(program, args, { env: environment, stdio: ['ignore', 'ignore', 'pipe'], timeout: PATIENCE })
  let said = ''
  child.stderr.on('data', (text: Buffer) => {
    said = (said + text.toString()).slice(0, 500)
  })
  try {
    const [code] = (await once(child, 'close')) as [number | null]
    return code === 0 ? undefined : `${program}: ${printable(said.trim()) || `exit code ${code ?? 'none'}`}`
  } catch (error) {
    return `${program}: ${reasonOf(error)}`
  }
}
