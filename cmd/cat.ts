import { once } from 'node:events'
import { AnnexfsError } from '../lib/errors.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import { openForReading } from './open.js'
import { readTimeout, SOURCE_OPTIONS } from './options.js'
import { normalPath } from './paths.js'
import { parseSize } from './units.js'
import { readInto } from '../lib/engine/read-into.js'

/** What one read asks for: as much as one FUSE read, so that both are served alike. */
const STEP = 128 * 1024

/** `annexfs cat SOURCE PATH` */
export const catCommand: Command = {
  name: 'cat',
  summary: 'write a file of a SOURCE, or a part of it, to standard output',
  usage: ['SOURCE PATH [--offset N] [--length N] [options]'],
  description:
    'Writes the file at PATH to standard output, fetching only what is written (and a bounded readahead). Ends with ' +
    'an error, and exit code 4 or 5, if not all of it can be had, or if all of it came and does not match its key.',
  options: [
    { name: 'offset', value: 'SIZE', help: 'start here', fallback: '0' },
    { name: 'length', value: 'SIZE', help: 'write this many bytes (default: to the end)' },
    ...SOURCE_OPTIONS,
  ],
  async run(given) {
    const [source, path, ...rest] = given.positional
    if (source === undefined || path === undefined || rest.length > 0) {
      throw new AnnexfsError('USAGE', 'cat wants a SOURCE and one PATH')
    }
    const timeout = readTimeout(given)
    const offset = parseSize('--offset', given.get('offset') ?? '0')
    const asked = given.get('length')
    const length = asked === undefined ? Infinity : parseSize('--length', asked)
    const at = normalPath(path)
    const { volume } = await openForReading([source], given)
    try {
      const node = await volume.lookup(at, AbortSignal.timeout(timeout))
      if (node === undefined) throw new AnnexfsError('NOT_FOUND', `${source} has no ${at}`)
      const file = await volume.open(node, at, AbortSignal.timeout(timeout))
      try {
        const end = Math.min(file.size, offset + length)
        const own = Buffer.allocUnsafeSlow(STEP)
        for (let position = offset; position < end;) {
          const count = Math.min(STEP, end - position)
          const got = await readInto(file, position, own.subarray(0, count), AbortSignal.timeout(timeout))
          if (got !== count) {
            throw new AnnexfsError('CORRUPT', `read ${got} of ${count} bytes at ${position} of ${at}`)
          }
          // A pipe takes what it is given later.
          if (!process.stdout.write(Buffer.from(own.subarray(0, count)))) await once(process.stdout, 'drain')
          position += count
        }
        await file.settled?.()
      } finally {
        file.close()
      }
    } finally {
      await volume.close()
    }
    return EXIT.ok
  },
}
