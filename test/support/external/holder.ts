/** Reads from the toy remote of a repository for ever: `node holder.js REPOSITORY CACHE MODE`. */
import { AnnexRepository } from '../../../lib/annex/repository.js'
import { GitRepository } from '../../../lib/git/repository.js'
import { silentLog } from '../../../lib/log/log.js'
import { HttpClient } from '../../../lib/net/http-client.js'
import { externalStore } from '../../../lib/stores/external.js'
import { parseKey } from '../../../lib/annex/key.js'
import { readObject } from './toy.js'

const [, , repository = '', folder = '', mode = '', raw = ''] = process.argv
const annex = await AnnexRepository.open(await GitRepository.open(repository, silentLog), silentLog)
const remote = (await annex.remotes()).find((candidate) => candidate.name === 'toy')
const key = parseKey(raw)
if (remote === undefined || key === undefined) throw new Error('no such remote or key')
const client = new HttpClient({ policy: { allows: () => true }, log: silentLog })
const store = await externalStore({
  remote: { ...remote, config: new Map([...remote.config, ['mode', mode]]) },
  annex,
  client,
  urls: client,
  credentials: () => Promise.resolve(undefined),
  folder,
  log: silentLog,
  forbid: () => false,
})
await readObject(store, { key, content: key }, [0, 1], AbortSignal.timeout(120_000))
