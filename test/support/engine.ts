import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { openEngine, type Engine, type EngineOptions } from '../../lib/engine/engine.js'
import type { OpenFile } from '../../lib/engine/volume.js'
import { silentLog } from '../../lib/log/log.js'

const MIB = 1024 * 1024

/** A swarm that looks for no peers. */
export const QUIET_SWARM: EngineOptions['swarm'] = {
  peers: [],
  port: 0,
  uploadLimit: undefined,
  downloadLimit: undefined,
  maxConnections: 10,
  dht: false,
  lsd: false,
  pex: false,
  trackers: false,
  webSeeds: false,
  seed: false,
}

/** An engine for SOURCEs as a mount would have it, which looks for no peers; closed when the test ends. */
export async function engineFor(
  t: Pick<TestContext, 'after'>,
  sources: string | readonly string[],
  options: Partial<EngineOptions> = {},
): Promise<Engine> {
  const folder = await mkdtemp(join(tmpdir(), 'annexfs-test-'))
  let engine: Engine | undefined
  // In one: hooks run in the order in which they were made, and an engine writes to its cache until it is closed.
  t.after(async () => {
    await engine?.volume.close()
    await rm(folder, { recursive: true, force: true })
  })
  engine = await openEngine(typeof sources === 'string' ? [sources] : sources, {
    cacheFolder: join(folder, 'cache'),
    cacheLimit: 256 * MIB,
    minFree: MIB,
    readahead: 4 * MIB,
    verify: 'normal',
    allowAddresses: [],
    swarm: QUIET_SWARM,
    ref: undefined,
    learnSizes: false,
    log: silentLog,
    forbid: () => false,
    ...options,
  })
  return engine
}

/** The bytes from `start` of the file at `path`, at most `length` of them. */
export async function readFrom(engine: Engine, path: string, start: number, length: number): Promise<Buffer> {
  const file = await openAt(engine, path)
  try {
    const parts: Buffer[] = []
    const own = Buffer.alloc(128 * 1024)
    const end = Math.min(start + length, file.size)
    for (let at = start; at < end;) {
      const result = await file.read(at, Math.min(own.length, end - at), own, AbortSignal.timeout(60_000))
      const bytes = typeof result === 'number' ? Buffer.from(own.subarray(0, result)) : Buffer.from(result)
      assert.ok(bytes.length > 0, 'no short read')
      parts.push(bytes)
      at += bytes.length
    }
    return Buffer.concat(parts)
  } finally {
    file.close()
  }
}

async function openAt({ volume }: Engine, path: string): Promise<OpenFile> {
  const signal = AbortSignal.timeout(60_000)
  const node = await volume.lookup(path, signal)
  assert.ok(node !== undefined, path)
  return volume.open(node, path, signal)
}
