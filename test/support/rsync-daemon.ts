import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

/** A real rsync daemon with `folder` as its module `m`; gone when the test ends. @returns the module's URL. */
export async function startRsyncDaemon(
  t: Pick<TestContext, 'after'>,
  folder: string,
  options: { readonly password?: string; readonly bandwidth?: number } = {},
): Promise<string> {
  const own = await mkdtemp(join(tmpdir(), 'axrsyncd-'))
  t.after(() => rm(own, { recursive: true, force: true }))
  const host = `127.${20 + (process.pid % 200)}.1.${1 + Math.floor(Math.random() * 250)}`
  const probe = createServer().listen(0, host)
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  const { port } = address
  await writeFile(join(own, 'secrets'), `reader:${options.password ?? ''}\n`, { mode: 0o600 })
  await writeFile(
    join(own, 'conf'),
    [
      'use chroot = no',
      `address = ${host}`,
      `port = ${port}`,
      'motd file = /etc/passwd',
      '[m]',
      `path = ${folder}`,
      'read only = yes',
      ...(process.getuid?.() === 0 ? ['uid = root', 'gid = root'] : []),
      ...(options.password === undefined ? [] : ['auth users = reader', `secrets file = ${join(own, 'secrets')}`]),
      '',
    ].join('\n'),
  )
  const slow = options.bandwidth === undefined ? [] : [`--bwlimit=${options.bandwidth}`]
  const daemon = spawn('rsync', ['--daemon', '--no-detach', ...slow, `--config=${join(own, 'conf')}`], {
    stdio: 'ignore',
    detached: true,
  })
  const ended = once(daemon, 'exit')
  t.after(async () => {
    // With the processes that serve its connections.
    if (daemon.pid !== undefined && daemon.exitCode === null) process.kill(-daemon.pid, 'SIGKILL')
    await ended
  })
  for (let tries = 0; !(await answers(host, port)); tries++) {
    if (tries > 1_000) throw new Error('the rsync daemon did not start')
    await sleep(50)
  }
  return `rsync://${options.password === undefined ? '' : 'reader@'}${host}:${port}/m`
}

async function answers(host: string, port: number): Promise<boolean> {
  const socket = connect(port, host)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    // Not yet.
    return false
  } finally {
    socket.destroy()
  }
}
