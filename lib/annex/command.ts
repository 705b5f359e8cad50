import { spawn } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AnnexfsError, reasonOf } from '../errors.js'
import { killGroup } from '../git/process.js'
import type { GitRepository } from '../git/repository.js'
import { printable } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { started } from '../started.js'

const LONGEST_OUTPUT: Bytes = 64 * 1024
const TIMEOUT: Milliseconds = 10_000

/**
 * Whether the configuration of a repository is the user's own, so that it may name commands to run: by git's rule
 * (`safe.directory`) only when it belongs to us, or to who called us through sudo. Also of a linked work tree, whose
 * configuration is elsewhere.
 */
export async function isOwn({ gitDir, commonDir }: Pick<GitRepository, 'gitDir' | 'commonDir'>): Promise<boolean> {
  const own = process.geteuid?.()
  const caller = own === 0 ? Number(process.env['SUDO_UID'] ?? NaN) : NaN
  const paths = new Set([gitDir, commonDir, join(commonDir, 'config')])
  // What cannot be looked at is not taken for ours.
  const found = await Promise.all([...paths].map((path) => stat(path).catch(() => undefined)))
  return found.every((status) => status !== undefined && [own, caller].includes(status.uid))
}

/**
 * Runs a command of the user's configuration (`annex.http-headers-command`, `annex-cost-command`) by the shell, as
 * git-annex does, in `folder`, and gives what it printed and how it ended.
 * @throws AnnexfsError SYSTEM when it cannot be run, prints too much or takes more than ten seconds. What the command
 * is, and what it prints, are not told: they may hold secrets.
 */
export async function runConfigured(
  setting: string,
  command: string,
  folder: string,
): Promise<{ readonly output: string; readonly code: number }> {
  const child = started(
    spawn('sh', ['-c', command], { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'], detached: true }),
    'sh',
  )
  const output: Buffer[] = []
  let length = 0
  let why: string | undefined
  const end = (reason: string): void => {
    why ??= reason
    killGroup(child)
    child.stdout.destroy()
  }
  const timer = setTimeout(() => end(`did not end within ${TIMEOUT / 1000} s`), TIMEOUT)
  child.stdout.on('data', (chunk: Buffer) => {
    length += chunk.length
    if (length > LONGEST_OUTPUT) end(`printed more than ${LONGEST_OUTPUT} bytes`)
    else output.push(chunk)
  })
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    if (why !== undefined || code === null) {
      throw new AnnexfsError('SYSTEM', `the command of ${printable(setting)} ${why ?? 'was killed'}`)
    }
    return { output: Buffer.concat(output).toString('utf8'), code }
  } catch (error) {
    if (error instanceof AnnexfsError) throw error
    throw new AnnexfsError('SYSTEM', `the command of ${printable(setting)} cannot be run: ${reasonOf(error)}`)
  } finally {
    clearTimeout(timer)
  }
}
