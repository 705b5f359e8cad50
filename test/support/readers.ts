import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'

/** A program that reads one byte range of a file, and is blocked while the mount has no answer. */
export interface RangeReader {
  readonly process: ChildProcess
  /** When the file is open and the read is about to begin. */
  readonly opened: Promise<void>
  /** When it has ended: what read(2) gave (`12 bytes`, or the name of the error) and how long it took, in ms. */
  readonly ended: Promise<{ readonly result: string; readonly took: number }>
}

const SCRIPT = `
import errno, os, sys
path, offset, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
try:
    file = os.open(path, os.O_RDONLY)
    print('opened', flush=True)
    print(len(os.pread(file, length, offset)), 'bytes')
except OSError as error:
    print(errno.errorcode[error.errno])
`

/** Reads in a process of its own, so that it can be killed, and so that a hung mount hangs nobody else. */
export function startReader(t: Pick<TestContext, 'after'>, path: string, offset: number, length: number): RangeReader {
  const started = Date.now()
  const child = spawn('/usr/bin/python3', ['-S', '-E', '-c', SCRIPT, path, String(offset), String(length)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  const opened = once(child.stdout, 'data').then(() => undefined)
  child.stdout.on('data', (text: Buffer) => (output += text.toString()))
  const ended = once(child, 'close').then(() => ({
    result: child.signalCode ?? output.replace('opened\n', '').trim(),
    took: Date.now() - started,
  }))
  t.after(() => {
    child.kill('SIGKILL')
  })
  return { process: child, opened, ended }
}
