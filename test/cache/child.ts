import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Load, LoadFigures } from './program.js'

/** A running program of `program.ts`. */
export interface LoadProcess {
  readonly child: ChildProcess
  /** The last figures that it told. */
  readonly figures: () => LoadFigures | undefined
  /** When it said that it has the cache open. */
  readonly ready: Promise<void>
  /** When it ended, however; its output on standard error. */
  readonly ended: Promise<string>
}

export function startLoad(
  t: { after(stop: () => void): void },
  load: Load,
  user?: { readonly uid: number; readonly gid: number },
): LoadProcess {
  const program = fileURLToPath(new URL('./program.js', import.meta.url))
  const child = spawn(process.execPath, [program, JSON.stringify(load)], { stdio: ['ignore', 'pipe', 'pipe'], ...user })
  t.after(() => {
    child.kill('SIGKILL')
  })
  let text = ''
  let errors = ''
  let saidReady: () => void = () => undefined
  const ready = new Promise<void>((resolve) => {
    saidReady = resolve
  })
  child.stdout.on('data', (chunk: Buffer) => {
    text = (text + chunk.toString()).slice(-10_000)
    if (text.includes('ready\n')) saidReady()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-10_000)
  })
  const ended = once(child, 'close').then(() => {
    saidReady()
    return errors
  })
  const figures = (): LoadFigures | undefined => {
    const line = text.slice(0, text.lastIndexOf('\n')).split('\n').at(-1)
    return line?.startsWith('{') === true ? (JSON.parse(line) as LoadFigures) : undefined
  }
  return { child, figures, ready, ended }
}
