import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { AnnexfsError } from '../../lib/errors.js'
import { textLog } from '../../lib/log/log.js'
import { stationOf } from '../../lib/status/station.js'
import { until } from '../support/peers.js'
import type { Engine } from '../../lib/engine/engine.js'
import { engineFor } from '../support/engine.js'
import { gpgHome } from '../support/gpg.js'
import { toyWorld, type RemoteWorld } from '../support/external/toy.js'

const MIB = 1024 * 1024
const LIMIT = { timeout: 180_000 }
const content = randomBytes(3 * MIB + 77)

/** Reads at an offset, or all of it. */
async function readFrom({ volume }: Engine, at?: number): Promise<Buffer> {
  const signal = AbortSignal.timeout(60_000)
  const node = await volume.lookup('/f', signal)
  assert.ok(node)
  const file = await volume.open(node, '/f', signal)
  try {
    const parts: Buffer[] = []
    const own = Buffer.alloc(128 * 1024)
    const end = at === undefined ? file.size : at + 1000
    for (let offset = at ?? 0; offset < end;) {
      const result = await file.read(offset, Math.min(own.length, end - offset), own, AbortSignal.timeout(60_000))
      const bytes = typeof result === 'number' ? Buffer.from(own.subarray(0, result)) : Buffer.from(result)
      assert.ok(bytes.length > 0)
      parts.push(bytes)
      offset += bytes.length
    }
    return Buffer.concat(parts)
  } finally {
    file.close()
  }
}

async function retrievals(made: RemoteWorld): Promise<number> {
  return (await made.notes()).filter((note) => note.startsWith('retrieve')).length
}

/** A repository whose file has gone to a toy remote with these settings. */
async function movedToToy(t: TestContext, settings: readonly string[]): Promise<RemoteWorld> {
  const made = await toyWorld(t, content)
  const { world } = made
  const where = ['type=external', 'externaltype=toy', `directory=${join(world.folder, 'toy')}`]
  await world.annex('repo', 'initremote', 'toy', ...where, ...settings)
  await world.annex('repo', 'copy', '--quiet', '--to', 'toy', 'f')
  await world.annex('repo', 'drop', '--quiet', '--force', 'f')
  return made
}

const KINDS: readonly (readonly [name: string, settings: readonly string[], mostRetrievals: number])[] = [
  ['whole keys', ['encryption=none'], 1],
  ['in the order that it is written', ['encryption=none', 'mode=ordered,slow=0.01'], 1],
  ['chunks', ['encryption=none', 'chunk=1MiB'], 4],
  ['encrypted chunks', ['encryption=shared', 'chunk=1MiB'], 4],
]

for (const [name, settings, most] of KINDS) {
  test(`a file that only an external remote has is read through the engine: ${name}`, LIMIT, async (t) => {
    const made = await movedToToy(t, settings)
    const { world } = made
    await rm(join(world.folder, 'toy', '.log'))
    const engine = await engineFor(t, join(world.folder, 'repo'))
    assert.ok((await readFrom(engine, 2 * MIB + 5)).equals(content.subarray(2 * MIB + 5, 2 * MIB + 1005)))
    assert.ok((await readFrom(engine)).equals(content))
    assert.ok((await retrievals(made)) <= most, `${await retrievals(made)} transfers`)
    await engine.volume.close()
    assert.deepEqual(await made.living(), [])
  })
}

const COMING: readonly (readonly [name: string, settings: readonly string[], said: RegExp])[] = [
  ['at its end', ['encryption=none', 'mode=slow=0.2'], /the whole object is coming, [0-2]\.[1-9] of 3\.0 MiB/],
  ['as it comes', ['encryption=none', 'mode=ordered,slow=0.2'], /the whole object is coming, [0-2]\.[1-9] of 3\.0 MiB/],
  ['in chunks', ['encryption=none', 'chunk=1MiB', 'mode=slow=0.2'], /the whole object is coming, \d+\.\d of 1\.0 MiB/],
  ['encrypted', ['encryption=shared', 'mode=slow=0.2'], /the whole object is coming, \d+\.\d [KM]iB so far/],
]

for (const [name, settings, coming] of COMING) {
  test(
    `a read that waits for a whole transfer says how far that is: content that is given ${name}`,
    LIMIT,
    async (t) => {
      const { world } = await movedToToy(t, settings)
      const lines: string[] = []
      const log = textLog('info', (line) => lines.push(line))
      const engine = await engineFor(t, join(world.folder, 'repo'), { readahead: 0, log })
      const station = stationOf({ engine, version: '0', cacheFolder: world.folder, sources: [] })
      const signal = AbortSignal.timeout(60_000)
      const node = await engine.volume.lookup('/f', signal)
      assert.ok(node)
      const file = await engine.openWatched(node, '/f', signal)
      const over = new AbortController()
      const reading = Promise.resolve(file.read(2 * MIB, 1000, Buffer.alloc(1000), over.signal))
      const said = new RegExp(`toy \\(external\\): asked \\d+\\.\\d s ago, ${coming.source}`)
      const ended = assert.rejects(reading, (error) => {
        assert.match(error instanceof Error ? error.message : '', new RegExp(`toy \\(external\\): ${coming.source}`))
        return true
      })
      await until('the status says it', async () => said.test((await station.snapshot()).waiting[0]?.what ?? ''))
      await until('the log says it', () => lines.some((line) => line.includes(' waits for ') && said.test(line)))
      over.abort(new AnnexfsError('TIMED_OUT', 'it took too long'))
      await ended
      file.close()
    },
  )
}

test('a file of more than half the cache is read from one transfer, within the bound', LIMIT, async (t) => {
  const made = await toyWorld(t, content)
  const { world } = made
  const where = ['type=external', 'externaltype=toy', `directory=${join(world.folder, 'toy')}`]
  await world.annex('repo', 'initremote', 'toy', ...where, 'encryption=none')
  await world.annex('repo', 'copy', '--quiet', '--to', 'toy', 'f')
  await world.annex('repo', 'drop', '--quiet', '--force', 'f')
  await rm(join(world.folder, 'toy', '.log'))
  const limit = 4 * MIB
  const engine = await engineFor(t, join(world.folder, 'repo'), { cacheLimit: limit })
  let highest = 0
  const watching = setInterval(() => {
    engine.store.usage().then(
      ({ usedBytes }) => (highest = Math.max(highest, usedBytes)),
      () => undefined,
    )
  }, 10)
  t.after(() => clearInterval(watching))
  assert.ok((await readFrom(engine)).equals(content))
  assert.equal(await retrievals(made), 1)
  assert.ok(highest > 0 && highest <= limit + 64 * 1024, `${highest} bytes of ${limit}`)
})

test('content without a hash is not taken from a program, unless the user says so', LIMIT, async (t) => {
  const made = await toyWorld(t, content)
  const { world } = made
  const where = ['type=external', 'externaltype=toy', `directory=${join(world.folder, 'toy')}`]
  await world.annex('repo', 'initremote', 'toy', ...where, 'encryption=none')
  await world.git('repo', 'rm', '-q', 'f')
  await world.write('repo', 'f', content)
  await world.annex('repo', 'add', '--quiet', '--backend=WORM', 'f')
  await world.git('repo', 'commit', '-q', '-m', 'WORM')
  await world.annex('repo', 'copy', '--quiet', '--to', 'toy', 'f')
  await world.annex('repo', 'drop', '--quiet', '--force', 'f')
  const refused = await engineFor(t, join(world.folder, 'repo'))
  await assert.rejects(readFrom(refused), /allow-unverified-downloads/)
  await world.git('repo', 'config', 'annex.security.allow-unverified-downloads', 'ACKTHPPT')
  const allowed = await engineFor(t, join(world.folder, 'repo'))
  assert.ok((await readFrom(allowed)).equals(content))
})

test('a file that only git-annex can bring is read through the engine, chunked and encrypted', LIMIT, async (t) => {
  const made = await toyWorld(t, content)
  const { world } = made
  const home = await gpgHome(t)
  world.environment['GNUPGHOME'] = home.folder
  const folder = join(world.folder, 'hooked')
  await mkdir(folder)
  const hooks = {
    store: `cp "$ANNEX_FILE" ${folder}/"$ANNEX_KEY"`,
    retrieve: `cp ${folder}/"$ANNEX_KEY" "$ANNEX_FILE"`,
    remove: `rm -f ${folder}/"$ANNEX_KEY"`,
    checkpresent: `if test -e ${folder}/"$ANNEX_KEY"; then echo "$ANNEX_KEY"; fi`,
  }
  for (const [name, hook] of Object.entries(hooks)) await world.git('repo', 'config', `annex.mine-${name}-hook`, hook)
  await world.annex('repo', 'initremote', 'hook', 'type=hook', 'hooktype=mine', 'encryption=shared', 'chunk=1MiB')
  await world.annex('repo', 'copy', '--quiet', '--to', 'hook', 'f')
  await world.annex('repo', 'drop', '--quiet', '--force', 'f')
  const engine = await engineFor(t, join(world.folder, 'repo'))
  assert.ok((await readFrom(engine, 2 * MIB)).equals(content.subarray(2 * MIB, 2 * MIB + 1000)))
  assert.ok((await readFrom(engine)).equals(content))
})
