import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { annexWorld, type AnnexWorld } from './annex.js'
import { startNginx, type Nginx } from './nginx.js'
import { pseudoRandom } from './peers.js'

/** A repository as people have them: `a`, whose files are at all kinds of places, and what each file holds. */
export interface Sample {
  readonly world: AnnexWorld
  /** The folder of the repository. */
  readonly repository: string
  readonly nginx: Nginx
  /** The content of every file, by its path in the repository. */
  readonly files: ReadonlyMap<string, Buffer>
}

/** Piece lengths are powers of two from here on. */
export const PIECE = 128 * 1024

/** Sizes around the piece length, by a name for each. */
export const SIZES: Readonly<Record<string, number>> = {
  empty: 0,
  one: 1,
  'piece-1': PIECE - 1,
  piece: PIECE,
  'piece+1': PIECE + 1,
  odd: 3 * PIECE + 12_345,
}

/**
 * Files of `sizes` in the folders `local/` (the repository's own objects), `shelf/` (at a directory special remote
 * alone), `clone/` (at another repository on this machine alone) and `web/` (at a web server alone), and one in git.
 */
export async function makeSample(t: Pick<TestContext, 'after'>, sizes = SIZES): Promise<Sample> {
  const world = await annexWorld(t)
  const nginx = await startNginx(t)
  const repository = await world.repository('a')
  await mkdir(join(world.folder, 'shelf-remote'))
  const files = new Map<string, Buffer>()
  for (const place of ['local', 'shelf', 'clone', 'web']) {
    for (const [name, size] of Object.entries(sizes)) {
      const path = `${place}/${name}`
      const content = pseudoRandom(size, path)
      files.set(path, content)
      await world.write('a', path, content)
      if (place !== 'web') continue
      await mkdir(dirname(join(nginx.root, path)), { recursive: true })
      await copyFile(join(repository, path), join(nginx.root, path))
    }
  }
  files.set('README', Buffer.from('kept in git itself\n'))
  await writeFile(join(repository, 'README'), 'kept in git itself\n')
  await world.git('a', 'add', 'README')
  await world.annex('a', 'add', '--quiet', 'local', 'shelf', 'clone', 'web')
  await world.git('a', 'commit', '--quiet', '-m', 'sample')
  await world.annex(
    'a',
    'initremote',
    '--quiet',
    'shelf',
    'type=directory',
    'directory=../shelf-remote',
    'encryption=none',
  )
  await world.annex('a', 'move', '--quiet', '--to', 'shelf', 'shelf')
  await world.git('.', 'clone', '--quiet', 'a', 'b')
  await world.annex('b', 'init', '--quiet', 'b')
  await world.git('a', 'remote', 'add', 'b', join(world.folder, 'b'))
  await world.annex('a', 'move', '--quiet', '--to', 'b', 'clone')
  for (const name of Object.keys(sizes)) {
    const path = `web/${name}`
    const key = await world.annex('a', 'lookupkey', path)
    await world.annex('a', 'registerurl', key, `${nginx.url}/${encodeURIComponent('web')}/${encodeURIComponent(name)}`)
  }
  await world.annex('a', 'drop', '--quiet', '--force', 'web')
  return { world, repository, nginx, files }
}

/** What a mount of a sample must be told to reach its web server. */
export const REACH_NGINX: readonly string[] = ['--allow-address', '127.0.0.0/8']
