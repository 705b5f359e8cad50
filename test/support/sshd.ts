import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface TestSshd {
  readonly host: string
  readonly port: number
  readonly user: string
  /** Of keys and configuration; `bin` in it is the first folder of the PATH of commands run there. */
  readonly folder: string
  /** For `GIT_SSH_COMMAND`: ssh with the keys of this server and nothing of the user's. */
  readonly command: string
  /** Processes at the server's end, and clients with its configuration, that are alive. */
  processes(): Promise<readonly number[]>
}

export interface SshdOptions {
  /** Default: the sftp that is built in; false: none. */
  readonly sftp?: boolean
  /** Scripts by name that come before the system's programs in the PATH. */
  readonly programs?: Readonly<Record<string, string>>
  /** The PATH after those. */
  readonly path?: string
  /** What the client knows of the host's key; default: the right one. */
  readonly known?: 'right' | 'other' | 'nothing'
  /** The client's key is accepted (default). */
  readonly accepted?: boolean
}

/** The real sshd on an address of its own in 127/8, with throw-away keys; gone when the test ends. */
export async function startSshd(t: Pick<TestContext, 'after'>, options: SshdOptions = {}): Promise<TestSshd> {
  const folder = await mkdtemp(join(tmpdir(), 'axssh-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const at = (name: string): string => join(folder, name)
  const user = userInfo().username
  await mkdir('/run/sshd', { recursive: true, mode: 0o755 })
  keys ??= makeKeys()
  for (const [name, text] of await keys) await writeFile(at(name), text, { mode: 0o600 })
  await mkdir(at('bin'))
  for (const [name, text] of Object.entries(options.programs ?? {})) {
    await writeFile(join(at('bin'), name), text)
    await chmod(join(at('bin'), name), 0o755)
  }
  const accepted = options.accepted === false ? 'stranger.pub' : 'user.pub'
  await writeFile(at('authorized'), await readFile(at(accepted)), { mode: 0o600 })
  const host = `127.${20 + (process.pid % 200)}.0.${1 + Math.floor(Math.random() * 250)}`
  const port = await freePort(host)
  const known = { right: 'host.pub', other: 'other.pub', nothing: undefined }[options.known ?? 'right']
  const key = known === undefined ? '' : (await readFile(at(known), 'utf8')).split(' ').slice(0, 2).join(' ')
  await writeFile(at('known'), key === '' ? '' : `[${host}]:${port} ${key}\n`)
  const path = `${at('bin')}:${options.path ?? process.env['PATH'] ?? '/usr/bin:/bin'}`
  await writeFile(
    at('sshd_config'),
    [
      `ListenAddress ${host}:${port}`,
      `HostKey ${at('host')}`,
      `AuthorizedKeysFile ${at('authorized')}`,
      'PidFile none',
      'UsePAM no',
      'StrictModes no',
      'PermitRootLogin yes',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PrintMotd no',
      'MaxStartups 100',
      'MaxSessions 100',
      // A home without the start-up files of the user's own shell, which may do anything.
      `SetEnv HOME=${folder} PATH=${path} ANNEXFS_TEST_SERVER=${folder}`,
      ...(options.sftp === false ? [] : ['Subsystem sftp internal-sftp']),
      '',
    ].join('\n'),
  )
  await writeFile(
    at('ssh_config'),
    [
      `UserKnownHostsFile ${at('known')}`,
      'GlobalKnownHostsFile /dev/null',
      'StrictHostKeyChecking yes',
      `IdentityFile ${at('user')}`,
      'IdentitiesOnly yes',
      'IdentityAgent none',
      '',
    ].join('\n'),
  )
  const server = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', at('sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  server.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4000)))
  const ended = once(server, 'exit')
  t.after(async () => {
    server.kill('SIGKILL')
    await ended
    for (const pid of await processesOf(folder)) kill(pid)
  })
  for (let tries = 0; !/Server listening/.test(said); tries++) {
    if (tries > 1_000 || server.exitCode !== null) throw new Error(`sshd did not start: ${said}`)
    await sleep(50)
  }
  return {
    host,
    port,
    user,
    folder,
    command: `ssh -F '${at('ssh_config')}'`,
    processes: async () => (await processesOf(folder)).filter((pid) => pid !== server.pid),
  }
}

let keys: Promise<ReadonlyMap<string, Buffer>> | undefined

/** The same for all servers of this process. */
async function makeKeys(): Promise<ReadonlyMap<string, Buffer>> {
  const made = new Map<string, Buffer>()
  const folder = await mkdtemp(join(tmpdir(), 'axssh-'))
  try {
    for (const name of ['host', 'other', 'user', 'stranger']) {
      const file = join(folder, name)
      await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', file])
      made.set(name, await readFile(file)).set(`${name}.pub`, await readFile(`${file}.pub`))
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return made
}

/** Alive processes with `text` in their command line, or in what a server here gave them. */
export async function processesOf(text: string): Promise<readonly number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    // Gone meanwhile, or somebody else's.
    const read = (file: string): Promise<string> => readFile(`/proc/${name}/${file}`, 'latin1').catch(() => '')
    const [title, environment] = await Promise.all([read('cmdline'), read('environ')])
    if (title.includes(text) || environment.includes(`ANNEXFS_TEST_SERVER=${text}`)) found.push(Number(name))
  }
  return found
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself.
    return
  }
}

async function freePort(host: string): Promise<number> {
  const probe = createServer().listen(0, host)
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
