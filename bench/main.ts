import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { reasonOf } from '../lib/errors.js'
import { CONTENT_ROWS, contentRows, type ContentSetting } from './content-rows.js'
import type { Row } from './figure.js'
import { webSetting } from './http.js'
import { Lab, runProgram } from './lab.js'
import { machineFacts } from './machine.js'
import { namesRows } from './names.js'
import { parallelRows } from './parallel.js'
import { benchOptions, HELP, isWanted, type BenchOptions } from './options.js'
import { markdownTable, textTable, verdicts } from './report.js'
import { freeIn } from './served-file.js'
import { streamRows } from './stream.js'
import { swarmSetting } from './swarm.js'

/*
 * `npm run bench`: figures of annexfs beside those of rclone mount and btfs, from one run on one machine. Contestants take
 * turns, so that what else the machine does falls upon all of them.
 */

const MIB = 1024 * 1024

interface Scale {
  readonly length: number
  readonly coldMounts: number
  readonly sequentialMounts: number
  readonly randomReads: number
  readonly longest: number
  readonly names: number
  readonly namesTurns: number
  readonly parallel: number
  readonly parallelTurns: number
  readonly seeks: number
  readonly plays: number
  readonly scanned: number
}

const FULL: Scale = {
  length: 1024 * MIB,
  coldMounts: 5,
  sequentialMounts: 3,
  randomReads: 20,
  longest: 10_000,
  names: 100_000,
  namesTurns: 2,
  // At 32 MiB/s.
  parallel: 512 * MIB,
  parallelTurns: 2,
  seeks: 40,
  plays: 40_000,
  scanned: 100,
}
const QUICK: Scale = {
  length: 256 * MIB,
  coldMounts: 3,
  sequentialMounts: 2,
  randomReads: 10,
  longest: 6_000,
  names: 20_000,
  namesTurns: 1,
  parallel: 192 * MIB,
  parallelTurns: 1,
  seeks: 20,
  plays: 15_000,
  scanned: 30,
}
/** btfs is slow: fewer tries of all in the swarm keep the run short. */
const SWARM_TURNS = { coldMounts: 3, sequentialMounts: 2 }

function say(what: string): void {
  process.stderr.write(`${what}\n`)
}

function isInstalled(program: string): boolean {
  return `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`.split(':').some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      // Not in this folder.
      return false
    }
  })
}

async function sections(lab: Lab, options: BenchOptions): Promise<{ rows: Row[]; settings: string[] }> {
  const scale = options.quick ? QUICK : FULL
  const settings: string[] = []
  const rows: Row[] = []
  const size = `${scale.length / MIB} MiB`
  const http = `HTTP: a file of ${size} behind nginx on loopback`
  const swarm = `Swarm: a file of ${size} from one libtorrent seeder on loopback`
  const names = `Names: ${scale.names.toLocaleString('en-US')} files`

  const content = async (
    section: string,
    make: typeof webSetting,
    own: Pick<ContentSetting, 'coldTarget' | 'warmTarget'> & Partial<ContentSetting>,
  ): Promise<void> => {
    const wants = (row: string): boolean => isWanted(options, section, row)
    if (!CONTENT_ROWS.some(wants)) return
    say(`${section}: preparing`)
    const made = await make(lab, scale.length, isInstalled)
    for (const one of made.contestants) settings.push(`${section.replace(/:.*/, '')}: ${one.name}: ${one.settings}`)
    rows.push(...(await contentRows(lab, { ...scale, ...made, ...own, section, wants, say })))
  }
  if (isInstalled('nginx') && isInstalled('git-annex')) {
    await content(http, webSetting, { coldTarget: 1, warmTarget: 1.5 })
  } else say('nginx or git-annex is not installed (--install gets them): no rows about HTTP')
  if (await hasLibtorrent()) {
    const turns = options.quick ? { coldMounts: 2, sequentialMounts: 1 } : SWARM_TURNS
    await content(swarm, swarmSetting, { coldTarget: 5, warmTarget: 1, ...turns })
  } else say('python3-libtorrent is not installed (--install gets it): no rows about the swarm')
  if (isInstalled('nginx') && isInstalled('git-annex')) {
    rows.push(
      ...(await parallelRows(lab, {
        section: `Parallel: a file of ${scale.parallel / MIB} MiB that four slow remotes have`,
        length: scale.parallel,
        turns: scale.parallelTurns,
        randomReads: scale.randomReads * 10,
        installed: isInstalled,
        wants: (row) => isWanted(options, 'Parallel', row),
        say,
      })),
    )
  }
  if (isInstalled('nginx') && isInstalled('git-annex')) {
    rows.push(
      ...(await streamRows(lab, {
        ...scale,
        installed: isInstalled,
        swarm: await hasLibtorrent(),
        wants: (section, row) => isWanted(options, section, row),
        say,
      })),
    )
  }
  rows.push(
    ...(await namesRows(lab, {
      section: names,
      files: scale.names,
      turns: scale.namesTurns,
      installed: isInstalled,
      wants: (row) => isWanted(options, names, row),
      say,
    })),
  )
  return { rows, settings }
}

async function hasLibtorrent(): Promise<boolean> {
  try {
    await runProgram('/usr/bin/python3', ['-c', 'import libtorrent'])
    return true
  } catch {
    // No Python, or without it.
    return false
  }
}

async function main(): Promise<number> {
  const options = benchOptions(process.argv.slice(2))
  if (options === 'help') {
    process.stdout.write(HELP)
    return 0
  }
  const scale = options.quick ? QUICK : FULL
  const began = performance.now()
  const lab = await Lab.open()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      say('stopping, cleaning up …')
      void lab.close().finally(() => process.exit(130))
    })
  }
  try {
    const free = await freeIn(lab.folder)
    if (free < 6 * scale.length + 1024 * MIB) {
      throw new Error(
        `${lab.folder} has ${Math.floor(free / MIB)} MiB free, too little for the caches; set TMPDIR to another folder`,
      )
    }
    const { rows, settings } = await sections(lab, options)
    const facts = [...(await machineFacts()), ...settings]
    const { reached, compared } = verdicts(rows)
    const took = Math.round((performance.now() - began) / 1000)
    const table = options.markdown ? markdownTable(rows) : textTable(rows)
    const list = facts.map((fact) => (options.markdown ? `- ${fact}` : fact)).join('\n')
    process.stdout.write(`\n${table}\n${list}\n\n`)
    process.stdout.write(`targets reached: ${reached} of ${compared}; the run took ${took} s\n`)
    return 0
  } catch (error) {
    if (!lab.closing) say(`bench: ${reasonOf(error)}`)
    return 1
  } finally {
    await lab.close()
  }
}

process.exitCode = await main()
