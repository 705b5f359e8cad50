import { openPieceStore } from '../../lib/cache/open.js'
import { textLog } from '../../lib/log/log.js'
import { look, pick, put, sampleSpace, seeded } from './support.js'

/** What the program is told, as JSON on its command line. */
export interface Load {
  readonly folder: string
  readonly limitBytes: number
  readonly minFreeBytes?: number
  readonly milliseconds: number
  readonly seed: number
  readonly spaces: number
  readonly pieces: number
  readonly pieceLength: number
  /** Prints a line of figures this often. */
  readonly every?: number
}

/** What the program tells, a JSON line at a time. */
export interface LoadFigures {
  readonly right: number
  readonly wrong: number
  readonly miss: number
  readonly stored: number
  readonly refused: number
}

/** A process that reads and puts pieces of sample spaces at random, several at once, and compares every byte. */
async function run(load: Load): Promise<void> {
  const random = seeded(load.seed)
  const store = await openPieceStore({
    folder: load.folder,
    limitBytes: load.limitBytes,
    minFreeBytes: load.minFreeBytes ?? 0,
    log: textLog('error', (line) => process.stderr.write(line)),
    memoryBytes: 0,
  })
  const spaces = Array.from({ length: load.spaces }, (_, nth) =>
    store.open(sampleSpace(`load ${nth}`, load.pieces * load.pieceLength - 5, load.pieceLength)),
  )
  const figures = { right: 0, wrong: 0, miss: 0, stored: 0, refused: 0 }
  const end = performance.now() + load.milliseconds
  const tell = (): void => {
    process.stdout.write(`${JSON.stringify(figures)}\n`)
  }
  const timer = load.every === undefined ? undefined : setInterval(tell, load.every)
  process.stdout.write('ready\n')
  const reader = async (): Promise<void> => {
    while (performance.now() < end) {
      const cached = spaces[pick(random, spaces.length)]
      if (cached === undefined) return
      const index = pick(random, load.pieces)
      const outcome = await look(cached, index, random() < 0.5 ? 'sync' : 'async')
      figures[outcome]++
      if (outcome === 'miss') figures[(await put(cached, index)) ? 'stored' : 'refused']++
      else if (random() < 0.02) await new Promise(setImmediate)
      if (random() < 0.0005) await cached.drop()
      if (outcome === 'right') await Promise.resolve()
    }
  }
  await Promise.all(Array.from({ length: 8 }, reader))
  clearInterval(timer)
  await store.close()
  tell()
}

await run(JSON.parse(process.argv[2] ?? '{}') as Load)
