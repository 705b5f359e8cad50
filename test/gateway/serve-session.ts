import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { AT_HOME, homeOf, PROGRAM } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

export interface ServeSession {
  /** Base URL, with a slash at its end. */
  readonly url: string
  readonly port: number
  readonly process: ChildProcess
  /** What it wrote to standard error so far. */
  log(): string
  /** Ends it by SIGTERM; the exit code. */
  stop(): Promise<number | null>
}

/**
 * `annexfs serve SOURCES` on a free port in a process of its own; returns when it answers. Gone when the test ends.
 * @throws Error with its log when it ends instead.
 */
export async function serveSession(
  t: Pick<TestContext, 'after'>,
  sources: readonly string[],
  options: { args?: readonly string[]; listen?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<ServeSession> {
  const home = await temporaryFolder(t)
  const args = [
    'serve',
    '--listen',
    options.listen ?? '127.0.0.1:0',
    ...AT_HOME,
    ...(options.args ?? []),
    '--',
    ...sources,
  ]
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    cwd: home,
    env: { ...homeOf(home), ...options.env },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  let log = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (log = (log + text).slice(-1_000_000)))
  const exited = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGKILL')
    await exited
    if (/\n\s+at .*:\d+:\d+|Unhandled|FATAL ERROR/.test(log)) throw new Error(`it showed a stack: ${log}`)
  })
  await new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve())
    child.once('close', (code, signal) => reject(new Error(`it ended with ${code ?? String(signal)}: ${log}`)))
  })
  const url = /serving .* at (http:\/\/\S+)/.exec(log)?.[1] ?? ''
  return {
    url,
    port: Number(new URL(url).port),
    process: child,
    log: () => log,
    stop: async () => {
      child.kill('SIGTERM')
      await exited
      return child.exitCode
    },
  }
}
