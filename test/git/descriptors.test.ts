import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { temporaryFolder } from '../support/temp.js'

const run = promisify(execFile)
const LIB = new URL('../../lib/', import.meta.url)

/** Uses up all descriptors, then asks git in each of the ways that there are; prints the code of each error. */
const PROGRAM = `
const { openSync } = await import('node:fs')
const { runGit } = await import(${JSON.stringify(new URL('git/process.js', LIB).href)})
const { GitObjects } = await import(${JSON.stringify(new URL('git/objects.js', LIB).href)})
const { silentLog } = await import(${JSON.stringify(new URL('log/log.js', LIB).href)})
const objects = new GitObjects(process.argv[2] + '/.git', silentLog)
const code = (error) => console.log(error.code, /too many files/.test(error.message))
try { for (;;) openSync('/dev/null') } catch {}
await runGit(['version'], { maxOutput: 1000 }).catch(code)
const stream = objects.stream('0'.repeat(40), new AbortController().signal)
await stream.next().catch(code)
await objects.read('HEAD', 1000).catch(code)
process.exit(0)
`

test(
  'a process without file descriptors left tells so when it needs git, and lives on',
  { timeout: 180_000 },
  async (t) => {
    const repository = await temporaryFolder(t)
    await run('git', ['init', '--quiet', repository])
    const limited = 'ulimit -n 100; exec "$0" --input-type=module -e "$1" x "$2"'
    const { stdout } = await run('sh', ['-c', limited, process.execPath, PROGRAM, repository])
    assert.equal(stdout, 'SYSTEM true\n'.repeat(3))
  },
)
