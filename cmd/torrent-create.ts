import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { AnnexfsError, isAnnexfsError, reasonOf } from '../lib/errors.js'
import { printable } from '../lib/log/log.js'
import { makeFolder } from '../lib/make-folder.js'
import { nameFinished } from '../lib/save/part.js'
import { statsAt } from '../lib/stats-at.js'
import { createTorrent } from '../lib/torrent/create.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import type { Given } from './options.js'
import { magnetLink } from './torrent-link.js'
import { openProgress } from './torrent-progress.js'
import { countOf, parseSize, showSize } from './units.js'
import { version } from './version.js'

/** `annexfs torrent create FILE|FOLDER` */
export const torrentCreateCommand: Command = {
  name: 'torrent create',
  summary: 'make a .torrent file of a file or folder',
  usage: ['FILE|FOLDER [-o OUT] [options]'],
  description:
    'Makes a torrent (version 1), and prints its infohash and magnet link. Files are in the order of the bytes of ' +
    'their paths, so that the same folder gives the same infohash everywhere; mktorrent gives it too. Symbolic links ' +
    'are followed; what is called .git is left out; pipes, sockets and devices are refused. The piece length is, ' +
    'unless another is given, the smallest power of two from 16 KiB to 16 MiB that makes at most 2,048 pieces, or ' +
    '16 MiB.',
  options: [
    { name: 'output', short: 'o', value: 'OUT', help: 'file, or folder, to write to (default: NAME.torrent here)' },
    { name: 'force', help: 'write over OUT if it is there' },
    { name: 'piece-length', value: 'SIZE', help: 'a power of two from 16KiB to 128MiB, or auto', fallback: 'auto' },
    {
      name: 'tracker',
      short: 't',
      value: 'URL',
      help: 'announce URL, each a tier of its own; several with commas between them are one tier',
      several: true,
    },
    { name: 'web-seed', short: 'w', value: 'URL', help: 'where the content is on the web', several: true },
    { name: 'private', help: 'let clients find peers by the trackers alone' },
    { name: 'comment', value: 'TEXT', help: 'anything' },
    { name: 'source', value: 'TEXT', help: 'a word that some trackers ask for; part of the infohash' },
    { name: 'name', value: 'NAME', help: 'what the torrent is called (default: as the file or folder)' },
    { name: 'no-date', help: 'do not say when it was made: the same content gives the same OUT' },
  ],
  async run(given) {
    const [path, ...rest] = given.positional
    if (path === undefined || rest.length > 0)
      throw new AnnexfsError('USAGE', 'torrent create wants one FILE or FOLDER')
    const length = given.get('piece-length') ?? 'auto'
    const name = given.get('name')
    const out = await outputPath(given, name ?? basename(resolve(path)))
    const controller = new AbortController()
    // Once: a second Ctrl-C ends the program as ever.
    process.once('SIGINT', () => controller.abort(new AnnexfsError('ABORTED', 'interrupted')))
    const progress = openProgress('hashing', (line) => process.stderr.write(`annexfs: ${line}\n`))
    try {
      const metainfo = await createTorrent({
        path,
        ...(length !== 'auto' && { pieceLength: parseSize('--piece-length', length) }),
        trackers: given.all('tracker').map((tier) => tier.split(',').filter((url) => url !== '')),
        webSeeds: given.all('web-seed'),
        private: given.has('private'),
        ...textOptions(given),
        createdBy: `annexfs ${version()}`,
        ...(!given.has('no-date') && { createdAt: Date.now() }),
        except: out,
        signal: controller.signal,
        onStart: (total) => progress.start(total, 0),
        onBytes: (bytes) => progress.add(bytes),
      })
      await writeNew(out, metainfo.raw, given.has('force'))
      progress.end()
      const { space, infohash } = metainfo
      if (given.has('private') && metainfo.trackers.length === 0) {
        process.stderr.write('annexfs: the torrent is private and has no tracker: nobody will find peers\n')
      }
      process.stdout.write(
        `${printable(out)}: ${showSize(space.length)} in ${countOf(Math.ceil(space.length / space.pieceLength), 'piece')} of ` +
          `${showSize(space.pieceLength)}, ${countOf(metainfo.files.length, 'file')}\n` +
          `infohash ${infohash}\n${magnetLink(metainfo, { trackers: true, webSeeds: true })}\n`,
      )
      return EXIT.ok
    } finally {
      progress.end()
    }
  },
}

function textOptions(given: Given): { comment?: string; source?: string; name?: string } {
  const found: Record<string, string> = {}
  for (const option of ['comment', 'source', 'name']) {
    const value = given.get(option)
    if (value !== undefined) found[option] = value
  }
  return found
}

/** Where it is to be written; whether something is there is said before hours of hashing, and seen to again at the end. */
async function outputPath(given: Given, name: string): Promise<string> {
  let out = resolve(given.get('output') ?? '.')
  let stats = await statsAt(out, 'follow')
  if (stats?.isDirectory() === true) {
    out = join(out, `${name.replaceAll('/', '_')}.torrent`)
    stats = await statsAt(out, 'follow')
  }
  if (stats !== undefined && !given.has('force')) throw taken(out)
  return out
}

function taken(out: string): AnnexfsError {
  return new AnnexfsError('USAGE', `${out} is there already; give --force to write over it, or another OUT with -o`)
}

/** Under a name of its own first: nobody ever sees half of it. */
async function writeNew(out: string, bytes: Buffer, force: boolean): Promise<void> {
  const temporary = join(dirname(out), `.${randomBytes(8).toString('hex')}.annexfs`)
  try {
    await makeFolder(dirname(out))
    const file = await open(temporary, 'wx')
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    if (force) await rename(temporary, out)
    else await nameFinished(temporary, out)
  } catch (error) {
    if (isAnnexfsError(error, 'FORBIDDEN')) throw taken(out)
    if (isAnnexfsError(error)) throw error
    throw new AnnexfsError('SYSTEM', `cannot write ${out}: ${reasonOf(error)}`, { cause: error })
  } finally {
    await rm(temporary, { force: true })
  }
}
