import type { GitRepository } from '../git/repository.js'
import type { Bytes } from '../space/space.js'
import { checkInside, inside } from './range.js'
import { SequentialBody } from './sequential.js'
import type { Source } from './source.js'

export interface GitBlobSourceOptions {
  readonly git: Pick<GitRepository, 'objects'>
  readonly sha: string
  readonly name?: string
}

/** Large, because each read that goes back may make git unpack the blob from its start again. */
const LONGEST: Bytes = 32 * 1024 * 1024

/** A file that is kept in git itself. Git gives a blob only from its start, so reads share a running stream. */
export function gitBlobSource(options: GitBlobSourceOptions): Source {
  const { git, sha } = options
  const name = options.name ?? `git (${sha})`
  let body: SequentialBody | undefined
  return {
    name,
    cost: 50,
    find: async (space) => {
      const info = await git.objects.info(sha)
      if (info === undefined || info.type !== 'blob' || info.size !== space.length) return undefined
      body ??= new SequentialBody((signal) => git.objects.stream(sha, signal), space.length)
      const stream = body
      return {
        unit: 1024 * 1024,
        longest: LONGEST,
        parallel: 2,
        has: (range) => inside(range, space.length),
        read: async function* (range, demand) {
          checkInside(range, space.length, name)
          if (range.end > range.start) yield* stream.read(range, demand)
        },
      }
    },
    close: () => body?.close(),
  }
}
