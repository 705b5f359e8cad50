import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLog } from '../../lib/log/log.js'
import { Complaint } from '../../lib/stores/complaint.js'
import { findProgram, LineProgram } from '../../lib/stores/external-process.js'

const secret = 'correct-horse-battery-staple'
const redact = (text: string): string => text.replaceAll(secret, '***')

test('no part of a secret shows, wherever what a program says is cut', () => {
  for (let split = 1; split < secret.length; split++) {
    for (const before of [0, 490, 1_990, 16_370].flatMap((length) => [length, length + split])) {
      const complaint = new Complaint(redact)
      let shown = ''
      const text = `${'x'.repeat(before)} ${secret} ${'y'.repeat(480)}`
      const at = before + 1 + split
      for (const part of [text.slice(0, at), text.slice(at)]) {
        complaint.add(Buffer.from(part))
        shown += complaint.fresh(false)
      }
      shown += `${complaint.fresh(true)} ${complaint.summary}`
      for (const half of [secret.slice(0, 4), secret.slice(-4)]) assert.ok(!shown.includes(half), `${before} ${split}`)
    }
  }
})

test('a secret that a program says in two parts is in neither log nor error', { timeout: 180_000 }, async () => {
  const logged: string[] = []
  const log = { ...silentLog, debug: (_: string, facts?: object) => void logged.push(JSON.stringify(facts)) }
  const script = `printf 'é key correct-horse' >&2; sleep 0.2; echo '-battery-staple is wrong' >&2; exit 3`
  const program = new LineProgram(
    {
      name: 'it',
      program: await findProgram('sh', () => false),
      args: ['-c', script],
      cwd: '/',
      env: process.env,
      log,
      redact,
      onLine: () => undefined,
    },
    undefined,
  )
  assert.equal((await program.ended).message, 'it ended (exit code 3): é key *** is wrong')
  assert.deepEqual(logged, ['{"text":"é key *** is wrong"}'])
})
