// Opens the cache in a folder, fills the sample space of a name and says how its pieces, and those of others, read.
import { openPieceStore } from '../../lib/cache/open.js'
import { silentLog } from '../../lib/log/log.js'
import { nativeExports } from '../../lib/native/part.js'
import { putAll, sampleSpace, tally } from './support.js'

const [folder = '', own = '', ...others] = process.argv.slice(2)
const store = await openPieceStore({
  folder,
  limitBytes: 1024 ** 3,
  minFreeBytes: 0,
  log: silentLog,
  memoryBytes: 0,
})
const open = (name: string): ReturnType<typeof store.open> => store.open(sampleSpace(name, 1_000_003, 100_003))
const cached = open(own)
const stored = await putAll(cached)
const seen = []
for (const name of [own, ...others]) seen.push(await tally(open(name), 'sync'), await tally(open(name), 'async'))
await store.close()
process.stdout.write(JSON.stringify({ native: nativeExports() !== undefined, stored, seen }))
