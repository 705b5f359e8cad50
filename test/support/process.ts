import { spawn, type ChildProcess } from 'node:child_process'
import { createInterface, type Interface } from 'node:readline'
import type { TestContext } from 'node:test'

const START_TIMEOUT = 60_000

/** A program that ends with the test at the latest. */
export interface TestProcess {
  readonly process: ChildProcess
  /** The next line of its standard output; throws when it ends or says nothing for a minute. */
  line(): Promise<string>
  write(text: string): void
  stop(): Promise<void>
}

export function startProcess(
  t: Pick<TestContext, 'after'>,
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): TestProcess {
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LANG: 'C.UTF-8', ...env },
  })
  let complaints = ''
  child.stderr.on('data', (text: Buffer) => {
    complaints = (complaints + text.toString()).slice(-2000)
  })
  child.stdin.on('error', () => undefined)
  const lines: Interface = createInterface({ input: child.stdout })
  const queue: string[] = []
  const waiting: ((line: string | undefined) => void)[] = []
  lines.on('line', (line) => {
    const next = waiting.shift()
    if (next === undefined) queue.push(line)
    else next(line)
  })
  const ended = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      complaints += error.message
      resolve()
    })
    child.once('close', () => resolve())
  })
  child.once('close', () => {
    for (const next of waiting.splice(0)) next(undefined)
  })
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
  }
  t.after(stop)
  return {
    process: child,
    write: (text) => void child.stdin.write(text),
    stop,
    line: async () => {
      const ready = queue.shift()
      if (ready !== undefined) return ready
      const line = await new Promise<string | undefined>((resolve) => {
        const timer = setTimeout(() => resolve(undefined), START_TIMEOUT)
        waiting.push((text) => {
          clearTimeout(timer)
          resolve(text)
        })
      })
      if (line === undefined) throw new Error(`${program} ended or said nothing: ${complaints}`)
      return line
    },
  }
}
