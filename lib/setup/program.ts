import { execFile } from 'node:child_process'

/** The first line that `program` prints with `args`; undefined when it is not installed or fails. */
export function askVersion(program: string, args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(program, args, { timeout: 10_000, killSignal: 'SIGKILL', maxBuffer: 65_536 }, (error, stdout) => {
      resolve(error === null ? (stdout.split('\n')[0] ?? '').trim() : undefined)
    })
  })
}
