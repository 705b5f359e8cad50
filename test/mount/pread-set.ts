import { mkdir, open, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { pseudoRandom } from '../support/peers.js'
import { makeSample, REACH_NGINX, type Sample } from '../support/sample.js'
import { mountSession, type MountSession } from '../support/session.js'
import type { Pair } from './preads.js'

const GIB = 1024 ** 3
/** Larger than what 32 bits count, and not a multiple of any piece length. */
const HUGE = 4 * GIB + 5_000_001

/**
 * A mount of a sample and, at each of its places, a sparse file of more than 4 GiB with something to read around the
 * places where 32 bits overflow; and the files to compare with.
 */
export async function preadSet(
  t: Pick<TestContext, 'after'>,
  options: readonly string[],
): Promise<{ mount: MountSession; pairs: Pair[]; sample: Sample }> {
  const sample = await makeSample(t)
  const { world, nginx } = sample
  const truth = join(world.folder, 'truth')
  const pairs: Pair[] = await writeTruth(sample)
  for (const place of ['shelf', 'b', 'web'] as const) {
    const source = join(place === 'web' ? nginx.root : truth, `huge-${place}`)
    await writeHuge(source, place)
    pairs.push({ mounted: `huge-${place}`, source, size: HUGE })
    // No hash in the key: hashing 4 GiB is not what this is about.
    const key = `WORM-s${HUGE}-m1700000000--huge-${place}`
    await world.annex('a', 'fromkey', '--quiet', '--force', key, `huge-${place}`)
    if (place === 'web') {
      await world.annex('a', 'registerurl', key, `${nginx.url}/huge-web`)
      continue
    }
    const hashed = place === 'b' ? '.git/annex/objects/${hashdirmixed}' : '${hashdirlower}'
    const folder = join(world.folder, place === 'b' ? 'b' : 'shelf-remote')
    const object = join(folder, await world.annex('a', 'examinekey', key, `--format=${hashed}\${key}/\${key}`))
    await mkdir(dirname(object), { recursive: true })
    await world.run('.', 'cp', ['--sparse=always', source, object])
    await world.annex('a', 'setpresentkey', key, await world.git('a', 'config', `remote.${place}.annex-uuid`), '1')
  }
  await world.git('a', 'commit', '--quiet', '-m', 'huge')
  const mount = await mountSession(t, [sample.repository], { options: [...REACH_NGINX, ...options] })
  return { mount, sample, pairs: pairs.map((pair) => ({ ...pair, mounted: join(mount.path, pair.mounted) })) }
}

/** Writes what a sample's files hold to a folder of its own; `mounted` is relative to the mount point. */
export async function writeTruth(sample: Sample): Promise<Pair[]> {
  const pairs: Pair[] = []
  for (const [path, content] of sample.files) {
    const source = join(sample.world.folder, 'truth', path)
    await mkdir(dirname(source), { recursive: true })
    await writeFile(source, content)
    pairs.push({ mounted: path, source, size: content.length })
  }
  return pairs
}

async function writeHuge(path: string, seed: string): Promise<void> {
  const file = await open(path, 'w')
  try {
    await file.truncate(HUGE)
    for (const anchor of [0, 2 ** 17, 2 ** 31, 2 ** 32, HUGE]) {
      const bytes = pseudoRandom(2_000_000, `${seed} ${anchor}`)
      const start = Math.max(0, Math.min(HUGE - bytes.length, anchor - bytes.length / 2))
      await file.write(bytes, 0, bytes.length, start)
    }
  } finally {
    await file.close()
  }
}
