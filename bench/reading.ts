import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Lab } from './lab.js'
import type { ColdResult, Job, PlayResult, RandomResult, SequentialResult } from './reader.js'

/** A reader that takes longer has met a mount that hangs. */
const LONGEST = 180_000

interface Results {
  readonly cold: ColdResult
  readonly sequential: SequentialResult
  readonly play: PlayResult
  readonly random: RandomResult
}

/** Does `job` in a process of its own. @throws Error when it fails or does not come back. */
export async function read<J extends Job>(lab: Lab, job: J): Promise<Results[J['kind']]> {
  const child = fork(fileURLToPath(new URL('./reader.js', import.meta.url)), { detached: true, serialization: 'json' })
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    return Promise.resolve()
  }
  lab.onClose(kill)
  try {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer from ${job.path} for ${LONGEST / 1000} s`)), LONGEST)
      const end = (): void => clearTimeout(timer)
      child.once('message', (message: { result?: Results[J['kind']]; error?: string }) => {
        end()
        if (message.result === undefined) reject(new Error(message.error ?? 'the reader said nothing'))
        else resolve(message.result)
      })
      child.once('exit', () => {
        end()
        reject(new Error('the reader ended'))
      })
      child.send(job)
    })
  } finally {
    child.kill('SIGKILL')
  }
}
