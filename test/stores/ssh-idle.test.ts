import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { silentLog } from '../../lib/log/log.js'
import { parseSshUrl } from '../../lib/stores/ssh-address.js'
import { hostFiles, type HostFiles } from '../../lib/stores/ssh-files.js'
import { SshHost } from '../../lib/stores/ssh-host.js'
import { gitBehindSsh } from './ssh-world.js'

const soon = (): AbortSignal => AbortSignal.timeout(60_000)

async function read(files: HostFiles, path: string): Promise<Buffer> {
  const file = await files.open(Buffer.from(path), soon())
  assert.ok(file)
  try {
    const parts: Uint8Array[] = []
    for await (const part of file.read({ start: 0, end: file.size }, { urgency: 'read', signal: soon() }))
      parts.push(part)
    return Buffer.concat(parts)
  } finally {
    file.close()
  }
}

for (const [way, sftp] of [
  ['an sftp session', true],
  ['a shell', false],
] as const) {
  test(`${way} that nobody uses ends, and the next read has another`, { timeout: 180_000 }, async (t) => {
    const { world, sshd, context } = await gitBehindSsh(t, { sftp })
    const { remote } = context
    assert.ok(remote.url !== undefined)
    // Without a shared connection, which stays a little longer.
    await world.git('here', 'config', 'annex.sshcaching', 'false')
    const host = await SshHost.of(context, parseSshUrl(remote.url))
    const files = hostFiles(host, silentLog, 300)
    t.after(async () => {
      await files.close()
      await host.close()
    })
    const path = join(world.folder, 'source/.git/config')
    const content = await readFile(path)
    for (let round = 0; round < 3; round++) {
      assert.ok(content.equals(await read(files, path)))
      for (let tries = 0; (await sshd.processes()).length > 0; tries++) {
        assert.ok(tries < 1_200, 'the session is still there')
        await sleep(50)
      }
    }
    assert.ok(files.received >= 3 * content.length)
  })
}
