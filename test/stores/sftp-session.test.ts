import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { handlePacket, openPacket, parseText, readPacket, SFTP } from '../../lib/stores/sftp-packet.js'
import { SftpSession } from '../../lib/stores/sftp-session.js'
import { SshChannel } from '../../lib/stores/ssh-channel.js'
import { temporaryFolder } from '../support/temp.js'

const content = randomBytes(64 * 1024)

async function opened(t: TestContext): Promise<{ session: SftpSession; handle: Buffer }> {
  const path = join(await temporaryFolder(t), 'f')
  await writeFile(path, content)
  const invocation = { file: '/usr/lib/openssh/sftp-server', args: [] }
  const channel = new SshChannel({ invocation, host: 'here', what: 'sftp', patience: 20_000 })
  const session = await SftpSession.open(channel)
  t.after(() => session.close())
  const answer = await session.request((id) => openPacket(id, Buffer.from(path)))
  assert.equal(answer.type, SFTP.HANDLE)
  return { session, handle: Buffer.from(parseText(answer.body)) }
}

test('more sftp requests than may be open at once wait for their turn', { timeout: 180_000 }, async (t) => {
  const { session, handle } = await opened(t)
  const reads = Array.from({ length: 5_000 }, async (_, index) => {
    const at = (index * 97) % (content.length - 50)
    const { type, body } = await session.request((id) => readPacket(id, handle, at, 50))
    assert.equal(type, SFTP.DATA)
    assert.ok(parseText(body, 50).equals(content.subarray(at, at + 50)))
  })
  await Promise.all(reads)
})

test(
  'sftp requests that wait for their turn are given up, or end with the session',
  { timeout: 180_000 },
  async (t) => {
    const { session, handle } = await opened(t)
    const controller = new AbortController()
    let sent = 0
    const ask = async (signal?: AbortSignal): Promise<unknown> => {
      const make = (id: number): Buffer => {
        sent++
        return handlePacket(SFTP.FSTAT, id, handle)
      }
      return session.request(make, signal).then(
        ({ type }) => type,
        (error: unknown) => error,
      )
    }
    const first = Array.from({ length: 1_024 }, () => ask())
    const given = Array.from({ length: 100 }, () => ask(controller.signal))
    const last = ask()
    controller.abort()
    for (const error of await Promise.all(given)) assert.equal((error as { code?: unknown }).code, 'ABORTED')
    assert.deepEqual(new Set(await Promise.all([...first, last])), new Set([SFTP.ATTRS]))
    assert.equal(sent, 1_025)
    const many = Array.from({ length: 2_000 }, () => ask())
    await session.close()
    for (const error of await Promise.all(many)) assert.equal((error as { code?: unknown }).code, 'UNAVAILABLE')
    assert.equal(sent, 1_025 + 1_024)
  },
)
