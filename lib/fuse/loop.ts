import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'
import { reasonOf } from '../errors.js'

/** Where `npm run build` puts the compiled `native/loop.c`, for machines of this kind. */
export const LOOP_FILE = fileURLToPath(
  new URL(`../../native/loop-${process.platform}-${process.arch}.so`, import.meta.url),
)

let result: string | undefined

/**
 * Makes fuse-native serve its mounts by our loop of threads in place of libfuse's, whose threads come and go and leave
 * their state behind (native-notes.md). To be called before fuse-native is loaded.
 * @returns undefined when it is in use, else why not: then libfuse's own loop is used, which is as right.
 */
export function loadLoop(): string | undefined {
  result ??= load()
  return result === '' ? undefined : result
}

function load(): string {
  if (!existsSync(LOOP_FILE)) return 'it was not compiled (no C compiler when annexfs was built)'
  try {
    process.dlopen({ exports: {} }, LOOP_FILE, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL)
    return ''
  } catch (error) {
    return reasonOf(error)
  }
}
