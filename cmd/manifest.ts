import { emptyReport, makeManifests, type MakeReport } from '../lib/engine/manifest-make.js'
import { openEngine } from '../lib/engine/engine.js'
import { sourceKind } from '../lib/engine/source-kind.js'
import { AnnexfsError } from '../lib/errors.js'
import { GitRepository } from '../lib/git/repository.js'
import { printable, type Log } from '../lib/log/log.js'
import { mergeManifests } from '../lib/manifest/merge.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import { commandLog } from './open.js'
import { engineSettings, readTimeout, SOURCE_OPTIONS, whole, type Given } from './options.js'
import { normalPath } from './paths.js'
import { showSize } from './units.js'

/** Options of a SOURCE that say how it is read; here all of it is, once, and checked. */
const UNUSED = new Set(['verify', 'manifest-swarm', 'no-manifests', 'learn-sizes'])

/** `annexfs manifest SOURCE [PATH...]` */
export const manifestCommand: Command = {
  name: 'manifest',
  summary: 'record piece hashes of annexed files, so that parts of them can be checked',
  usage: ['SOURCE [PATH...] [options]', 'SOURCE --merge [options]'],
  description:
    'Reads the content of the annexed files at each PATH (everything unless given), from the repository itself or ' +
    'fetched whole, compares it with its key, and records a manifest of it: the hashes of its pieces, as a torrent ' +
    'made by a fixed rule. SOURCE is a repository on this machine; only its ref refs/annexfs/manifests is written. ' +
    'Keys that have a manifest are skipped. Share it with: git push origin refs/annexfs/manifests, and git fetch ' +
    'origin refs/annexfs/manifests:refs/remotes/origin/annexfs/manifests. Exit code 5 when some content is not ' +
    'what its key says, 4 when some could not be had.',
  options: [
    { name: 'dry-run', help: 'only list what would be read' },
    { name: 'local', help: 'only content that the repository itself has; fetch nothing' },
    { name: 'again', help: 'also keys that have a manifest; a false one is replaced' },
    { name: 'merge', help: 'instead, take the manifests of fetched refs into the own ref' },
    { name: 'jobs', short: 'J', value: 'N', help: 'files that are read at once', fallback: '1' },
    { name: 'sign', help: 'sign with your git signing key (default: as commit.gpgSign says)' },
    { name: 'no-sign', help: 'do not sign' },
    ...SOURCE_OPTIONS.filter((option) => !UNUSED.has(option.name)),
  ],
  async run(given) {
    const [source, ...paths] = given.positional
    if (source === undefined) throw new AnnexfsError('USAGE', 'manifest wants a SOURCE')
    if (given.has('merge') && paths.length > 0) throw new AnnexfsError('USAGE', '--merge takes no PATH')
    const kind = await sourceKind(source)
    if (kind.kind !== 'repository') {
      throw new AnnexfsError(
        'INVALID',
        `${source} is no git repository on this machine; manifests are recorded in one. Clone it first`,
      )
    }
    const log = commandLog(given)
    const git = await GitRepository.open(kind.path, log)
    const controller = new AbortController()
    // Once: a second Ctrl-C ends the program as ever.
    process.once('SIGINT', () => controller.abort(new AnnexfsError('ABORTED', 'interrupted')))
    try {
      const sign = given.has('no-sign')
        ? false
        : given.has('sign') || (await git.config()).bool('commit.gpgsign') === true
      const common = { git, sign, log, signal: controller.signal }
      return given.has('merge') ? await merge(common, given) : await make(common, kind.path, paths, given)
    } finally {
      await git.close()
    }
  },
}

interface Common {
  readonly git: GitRepository
  readonly sign: boolean
  readonly log: Log
  readonly signal: AbortSignal
}

async function merge(common: Common, given: Given): Promise<number> {
  const { signatures } = engineSettings(given).manifests
  const report = await mergeManifests({ ...common, signatures })
  const refs = report.refs.length === 0 ? 'no other refs' : report.refs.map(printable).join(', ')
  process.stdout.write(
    `merged ${refs}: ${report.added} manifests added, ${report.replaced} replaced, ` +
      `${report.disputed} disputed, ${report.refused} refused\n`,
  )
  return EXIT.ok
}

async function make(common: Common, path: string, paths: readonly string[], given: Given): Promise<number> {
  const settings = engineSettings(given)
  const dryRun = given.has('dry-run')
  const jobs = whole('--jobs', given.get('jobs'), 1, 64)
  const engine = await openEngine([path], {
    ...settings,
    verify: 'normal',
    manifests: { ...settings.manifests, use: false },
    log: common.log,
    forbid: () => false,
  })
  const report = emptyReport()
  const progress = startProgress(report)
  try {
    await makeManifests(
      {
        ...common,
        volume: engine.volume,
        paths: paths.length === 0 ? ['/'] : paths.map(normalPath),
        again: given.has('again'),
        localOnly: given.has('local'),
        dryRun,
        jobs,
        readTimeout: readTimeout(given),
        onKey: (file, what, size) => {
          progress.at(file)
          if (dryRun) process.stdout.write(`${what.padEnd(5)} ${String(size).padStart(14)} ${printable(file)}\n`)
        },
      },
      report,
    )
  } finally {
    progress.end()
    await engine.volume.close()
    process.stdout.write(`${summary(report, dryRun)}\n`)
  }
  if (report.wrong > 0) return EXIT.corrupt
  return report.unavailable > 0 ? EXIT.unavailable : EXIT.ok
}

function summary(report: MakeReport, dryRun: boolean): string {
  const parts = [
    dryRun ? `${showSize(report.bytes)} would be read` : `${report.recorded} recorded (${showSize(report.bytes)} read)`,
    `${report.known} known before`,
    ...(report.refused > 0 ? [`${report.refused} can have none`] : []),
    ...(report.absent > 0 ? [`${report.absent} not here`] : []),
    ...(report.unavailable > 0 ? [`${report.unavailable} could not be read`] : []),
    ...(report.wrong > 0 ? [`${report.wrong} not what their key says`] : []),
    ...(report.elsewhere > 0 ? [`${report.elsewhere} files of submodules left out (run annexfs manifest there)`] : []),
  ]
  return `manifests: ${parts.join(', ')}`
}

/** On a terminal a line that is written over; else one now and then, so that a log shows that it is alive. */
const TERMINAL_EVERY = 200
const LOG_EVERY = 60_000

function startProgress(report: MakeReport): { at(path: string): void; end(): void } {
  const terminal = process.stderr.isTTY
  let current = ''
  const show = (): void => {
    const line = `${report.recorded} recorded, ${showSize(report.bytes)} read ${printable(current)}`
    process.stderr.write(
      terminal ? `\r\x1b[K${line.slice(0, (process.stderr.columns || 80) - 1)}` : `annexfs: ${line}\n`,
    )
  }
  const timer = setInterval(show, terminal ? TERMINAL_EVERY : LOG_EVERY)
  timer.unref()
  return {
    at: (path) => {
      current = path
    },
    end: () => {
      clearInterval(timer)
      if (terminal) process.stderr.write('\r\x1b[K')
    },
  }
}
