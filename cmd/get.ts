import { basename, join, resolve } from 'node:path'
import { Actions } from '../lib/control/actions.js'
import { filesBelow } from '../lib/control/files-below.js'
import type { Engine } from '../lib/engine/engine.js'
import { AnnexfsError, isAnnexfsError, reasonOf } from '../lib/errors.js'
import { printable } from '../lib/log/log.js'
import { makeFolder } from '../lib/make-folder.js'
import { placeBelow } from '../lib/save/destination.js'
import { saveFile, type Saved } from '../lib/save/save.js'
import type { Bytes } from '../lib/space/space.js'
import { EXIT, exitCodeOf } from './exit-codes.js'
import { showFacts } from './each-file.js'
import type { Command } from './help.js'
import { insideWhichMount } from './inside.js'
import { complain } from './tell.js'
import { openForReading } from './open.js'
import { engineSettings, readTimeout, SOURCE_OPTIONS, whole } from './options.js'
import { normalPath } from './paths.js'
import { progressBars, type Bars } from './progress.js'
import { countOf, showSize } from './units.js'

/** One file to be had: where it is in the SOURCE, and the names that it is to have below DIR. */
interface Wanted {
  readonly path: string
  readonly names: readonly string[]
}

/** `annexfs get SOURCE PATH...` */
export const getCommand: Command = {
  name: 'get',
  summary: 'fetch whole files into the cache, or into a folder',
  usage: ['SOURCE PATH... [--to DIR] [--jobs N] [options]'],
  description:
    'Fetches files, and folders with all that is in them, and checks them: each piece where pieces have hashes, else the ' +
    'whole against its key. Into the cache; or with --to DIR into files below it, named as in the SOURCE. There a file ' +
    'appears when all of it is there and right; what an interrupted run has left is gone on with. A file that is there ' +
    'already and is right is left alone, one that is something else is refused. Symbolic links are not copied. Exit code ' +
    '4 when something could not be had, 5 when it was wrong; the other files are fetched all the same.',
  options: [
    { name: 'to', value: 'DIR', help: 'write the files below this folder' },
    // Several small files hide the time that each takes to begin; large ones share the line anyway.
    { name: 'jobs', short: 'J', value: 'N', help: 'files at once', fallback: '3' },
    ...SOURCE_OPTIONS,
  ],
  async run(given) {
    const [source, ...paths] = given.positional
    if (source === undefined || paths.length === 0) {
      const mounted = source !== undefined && (await insideWhichMount(source)) !== undefined
      throw new AnnexfsError(
        'USAGE',
        mounted
          ? `${source} lies in a mount: annexfs prefetch fetches it into the cache, and cp copies it`
          : 'get wants a SOURCE and at least one PATH in it (/ for all)',
      )
    }
    const jobs = whole('--jobs', given.get('jobs'), 1, 64)
    const timeout = readTimeout(given)
    const { cacheLimit } = engineSettings(given)
    const to = given.get('to')
    const stop = new AbortController()
    const onSignal = (): void => stop.abort(new AnnexfsError('ABORTED', 'stopped; the same command goes on from here'))
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, onSignal)
    const engine = await openForReading([source], given)
    const bars = progressBars()
    try {
      const base = to === undefined ? undefined : await folderAt(to)
      const wanted = await wantedOf(engine, paths, stop.signal)
      const job = { engine, base, bars, timeout, cacheLimit, signal: stop.signal }
      return await getAll(wanted, jobs, job)
    } finally {
      bars.close()
      await engine.volume.close()
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, onSignal)
    }
  },
}

interface Job {
  readonly engine: Engine
  readonly base: string | undefined
  readonly bars: Bars
  readonly timeout: number
  readonly cacheLimit: Bytes
  readonly signal: AbortSignal
}

async function folderAt(path: string): Promise<string> {
  const folder = resolve(path)
  await makeFolder(folder)
  return folder
}

/** Like cp -r: a file goes by its own name, a folder with its name before those in it; `/` is all that is in it. */
async function wantedOf(engine: Engine, paths: readonly string[], signal: AbortSignal): Promise<readonly Wanted[]> {
  const wanted = new Map<string, Wanted>()
  for (const given of paths) {
    const path = normalPath(given)
    const above = path === '/' ? '' : path.slice(0, path.length - basename(path).length - 1)
    for (const file of await filesBelow(engine.volume, path, signal)) {
      const names = file.slice(above.length + 1).split('/')
      const same = wanted.get(names.join('/'))
      if (same !== undefined && same.path !== file) {
        throw new AnnexfsError(
          'USAGE',
          `${same.path} and ${file} would have the same name; get them one after the other`,
        )
      }
      wanted.set(names.join('/'), { path: file, names })
    }
  }
  return [...wanted.values()]
}

async function getAll(wanted: readonly Wanted[], jobs: number, job: Job): Promise<number> {
  let code: number = EXIT.ok
  let done = 0
  const queue = wanted.values()
  const worker = async (): Promise<void> => {
    for (const one of queue) {
      if (job.signal.aborted) return
      try {
        job.bars.say(await get(one, job))
        done += 1
      } catch (error) {
        if (job.signal.aborted) return
        complain(`${one.path}: ${reasonOf(error)}`)
        if (code !== EXIT.corrupt) code = exitCodeOf(error)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(jobs, wanted.length) }, worker))
  job.signal.throwIfAborted()
  job.bars.say(
    `${done} of ${countOf(wanted.length, 'file')}, ${showSize(job.engine.activity.fetchedBytes)} fetched${origins(job.engine)}`,
  )
  return code
}

/** What was found wrong is thrown away by the engine; opened again it comes from other sources, if there are any. */
async function get(one: Wanted, job: Job): Promise<string> {
  try {
    return await getOnce(one, job)
  } catch (error) {
    if (!isAnnexfsError(error, 'CORRUPT') || job.signal.aborted) throw error
    try {
      return await getOnce(one, job)
    } catch (second) {
      // That nobody else has it is less to the point than that who has it gave something wrong.
      if (job.signal.aborted) throw second
      throw error
    }
  }
}

async function getOnce({ path, names }: Wanted, job: Job): Promise<string> {
  const { engine, base, bars, timeout, cacheLimit, signal } = job
  const bar = bars.start(printable(path))
  const update = (done: Bytes, total: Bytes): void => bar.update(done, total, busiest(engine))
  try {
    if (base === undefined) {
      const actions = new Actions({ engine, cacheLimit, timeout })
      const range = { start: 0, end: Number.MAX_SAFE_INTEGER }
      const facts = await actions.prefetch(path, range, { signal, progress: ({ done, total }) => update(done, total) })
      return `got  ${printable(path)}  ${showFacts(facts)}`
    }
    const within = AbortSignal.any([signal, AbortSignal.timeout(timeout)])
    const node = await engine.volume.lookup(path, within)
    if (node === undefined || node.kind !== 'file')
      throw new AnnexfsError('NOT_FOUND', `there is no file ${path} any more`)
    const file = await engine.openWatched(node, path, within)
    try {
      const { content, executable } = node
      const target = await placeBelow(base, names)
      const progress = (done: Bytes): void => update(done, file.size)
      const saved = await saveFile({ file, content, executable, target, readTimeout: timeout, signal, progress })
      return `${saved.already ? 'there' : 'got'}  ${printable(join(base, ...names))}  ${showSize(file.size)}${showSaved(saved)}`
    } finally {
      file.close()
    }
  } finally {
    bar.stop()
  }
}

function showSaved({ resumed, checked }: Saved): string {
  const sure = { none: ', nothing to check it with', piece: ', each piece checked', whole: ', checked whole' }[checked]
  return `${sure}${resumed > 0 ? `, ${showSize(resumed)} of it from before` : ''}`
}

/** Who gives most now. */
function busiest({ activity }: Engine): string {
  const now = performance.now()
  return [...activity.origins.values()]
    .map((origin) => ({ name: origin.name, rate: origin.throughput.rate(now) }))
    .filter(({ rate }) => rate > 0)
    .sort((a, b) => b.rate - a.rate)
    .slice(0, 2)
    .map(({ name }) => printable(name))
    .join(', ')
}

function origins({ activity }: Engine): string {
  const names = [...activity.origins.values()]
    .filter(({ throughput }) => throughput.total > 0)
    .map(({ name, throughput }) => `${printable(name)} ${showSize(throughput.total)}`)
  return names.length === 0 ? '' : `: ${names.slice(0, 5).join(', ')}`
}
