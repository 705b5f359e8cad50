import { execFile } from 'node:child_process'
import { systemCode } from '../errors.js'
import type { Milliseconds } from '../space/space.js'

export interface CommandResult {
  readonly ok: boolean
  /** The program is not installed. */
  readonly missing: boolean
  /** What it said on standard error, or why it did not run. */
  readonly said: string
}

/** Runs a program without a shell, for at most `timeout`. Never throws. */
export function runCommand(program: string, args: readonly string[], timeout: Milliseconds): Promise<CommandResult> {
  return new Promise((resolve) => {
    const options = { timeout, killSignal: 'SIGKILL', maxBuffer: 65_536, env: { ...process.env, LC_ALL: 'C' } } as const
    execFile(program, args, options, (error, _, stderr) => {
      if (error === null) resolve({ ok: true, missing: false, said: '' })
      else {
        const said = error.killed === true ? `no end after ${timeout} ms` : stderr.trim() || error.message
        resolve({ ok: false, missing: systemCode(error) === 'ENOENT', said })
      }
    })
  })
}
