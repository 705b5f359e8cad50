import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { jsonLog, LOG_LEVELS, openLog, textLog, type Log, type LogLevel } from '../../lib/log/log.js'

function lines(make: (write: (line: string) => void) => Log): { log: Log; written: string[] } {
  const written: string[] = []
  return { log: make((line) => written.push(line)), written }
}

const ESCAPES = 'a\u001b[2J\r\n\u0007b\u009b2J\u2028\u007f'

test('a line of the text log is one line without control characters, with its fields', () => {
  const { log, written } = lines((write) => textLog('debug', write))
  log.info('plain')
  log.warn(`name ${ESCAPES}`, { file: ESCAPES, count: 3, yes: true, none: undefined })
  assert.equal(written[0], 'annexfs: plain\n')
  const shown = 'a\\x1b[2J\\x0d\\x0a\\x07b\\x9b2J\\x2028\\x7f'
  assert.equal(written[1], `annexfs: warn: name ${shown} (file=${shown} count=3 yes=true)\n`)
})

test('a line of the JSON log is one object with time, level, msg and fields', () => {
  const { log, written } = lines((write) => jsonLog('debug', write, () => 1_700_000_000_123))
  log.info('plain')
  log.error(`name ${ESCAPES}`, { file: ESCAPES, count: 3, yes: true, none: undefined, time: 'mine', msg: 'mine' })
  assert.equal(written[0], '{"time":"2023-11-14T22:13:20.123Z","level":"info","msg":"plain"}\n')
  assert.deepEqual(JSON.parse(written[1] ?? ''), {
    time: '2023-11-14T22:13:20.123Z',
    level: 'error',
    msg: `name ${ESCAPES}`,
    fields: { file: ESCAPES, count: 3, yes: true, time: 'mine', msg: 'mine' },
  })
})

test('whatever is logged, a line is printable, ends once, and JSON gives back what went in', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (message, value) => {
      const plain = (text: string): boolean => !/:\/\/|magnet:|authorization|pass|secret|token|key/i.test(text)
      fc.pre(plain(message) && plain(value))
      for (const format of ['text', 'json'] as const) {
        const { log, written } = lines((write) => openLog(format, 'info', write))
        log.info(message, { value })
        const [line = ''] = written
        // oxlint-disable-next-line no-control-regex -- just these must not be there
        assert.doesNotMatch(line.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
        assert.ok(line.endsWith('\n'))
        if (format === 'json') {
          const parsed = JSON.parse(line) as { msg: string; fields: { value: string } }
          assert.deepEqual([parsed.msg, parsed.fields.value], [message, value])
        }
      }
    }),
    { numRuns: 300 },
  )
})

test('a log keeps the lines of its level and above', () => {
  for (const format of ['text', 'json'] as const) {
    for (const [index, level] of LOG_LEVELS.entries()) {
      const { log, written } = lines((write) => openLog(format, level, write))
      for (const own of ['debug', 'info', 'warn', 'error'] as const satisfies readonly LogLevel[]) log[own](own)
      assert.equal(written.length, 4 - index, `${format} ${level}`)
    }
  }
})
