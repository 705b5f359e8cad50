import { createHash, randomUUID } from 'node:crypto'
import { closeSync, ftruncateSync, mkdirSync, openSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { annexfs, rclone, RCLONE_SETTINGS } from './contestants.js'
import { hashDirLower, hashDirMixed } from '../lib/annex/hash-dirs.js'
import { parseKey, type Key } from '../lib/annex/key.js'
import { backMemory, inTurn } from './backed-memory.js'
import type { Row } from './figure.js'
import { gitEnvironment } from './http.js'
import { runProgram, type Lab } from './lab.js'
import { mount, type Contestant } from './mounts.js'
import { Samples } from './samples.js'

export interface NamesSetting {
  readonly section: string
  readonly files: number
  readonly turns: number
  readonly installed: (program: string) => boolean
  readonly wants: (row: string) => boolean
  readonly say: (what: string) => void
}

const IN_A_FOLDER = 1_000
const TIME = 1_700_000_000
const MB = 1e6

const LISTING = 'ls -lR'
const MOUNTING = 'from start to first ls'
const MEMORY = 'peak memory'

interface Name {
  readonly folder: string
  readonly name: string
  readonly size: number
  readonly key: Key
}

/** The rows about names: a repository of many annexed files against a folder of as many files. */
export async function namesRows(lab: Lab, setting: NamesSetting): Promise<Row[]> {
  const { section, files, turns, wants, say } = setting
  if (![LISTING, MOUNTING, MEMORY].some(wants)) return []
  say(`making a repository of ${files} annexed files`)
  const contestants = await makeContestants(lab, files, setting.installed)
  const samples = new Samples()
  for (let nth = 0; nth < turns; nth++) {
    for (const contestant of inTurn(contestants, nth)) {
      await backMemory(2 ** 30)
      say(`${contestant.name}: names ${nth + 1}/${turns}`)
      const mounted = await mount(lab, contestant)
      const asked = performance.now()
      const folders = await readdir(mounted.path)
      samples.add(MOUNTING, contestant.name, mounted.took + performance.now() - asked)
      if (folders.length * IN_A_FOLDER < files) throw new Error(`${contestant.name} shows ${folders.length} folders`)
      const began = performance.now()
      await list(lab, mounted.path)
      samples.add(LISTING, contestant.name, (performance.now() - began) / 1000)
      samples.add(MEMORY, contestant.name, mounted.peakMemory() / MB)
      await mounted.unmount()
    }
  }
  const row = (name: string, unit: string): Row | undefined =>
    wants(name) ? samples.row({ section, name, unit, better: 'less', target: 1 }) : undefined
  return [row(MOUNTING, 'ms'), row(LISTING, 's'), row(MEMORY, 'MB')].filter((one) => one !== undefined)
}

async function makeContestants(
  lab: Lab,
  files: number,
  installed: (program: string) => boolean,
): Promise<readonly Contestant[]> {
  const names = makeNames(files)
  const repository = await makeRepository(lab, names)
  const mine = annexfs({ settings: 'all as it comes', file: '', source: repository })
  if (!installed('rclone')) return [mine]
  const folder = await makeFiles(lab, names)
  const settings = `${RCLONE_SETTINGS}; of a local folder with as many files`
  const other = rclone({ settings, file: '', source: folder })
  return [mine, other]
}

function makeNames(files: number): Name[] {
  return Array.from({ length: files }, (_, index) => {
    const hash = createHash('sha256').update(String(index)).digest('hex')
    const size = 1_000 + (index % 1_000_000)
    const folder = `folder-${String(Math.floor(index / IN_A_FOLDER)).padStart(4, '0')}`
    const key = parseKey(`SHA256E-s${size}--${hash}.dat`)
    if (key === undefined) throw new Error('a key of our own making was not understood')
    return { folder, name: `file-${index}.dat`, size, key }
  })
}

/** Locked files (symbolic links to keys) with a location log each, as git-annex would have made them, only faster. */
async function makeRepository(lab: Lab, names: readonly Name[]): Promise<string> {
  const repository = await lab.folderFor('names')
  await runProgram('git', ['init', '--quiet', '--initial-branch=main', repository], { env: gitEnvironment(lab.folder) })
  const here = randomUUID()
  const there = randomUUID()
  const importing = runProgram('git', ['fast-import', '--quiet'], {
    cwd: repository,
    env: gitEnvironment(lab.folder),
    maxBuffer: 1_000_000,
  })
  const input = importing.child.stdin
  if (input === null) throw new Error('git fast-import has no standard input')
  input.write(commit('main'))
  for (const { folder, name, key } of names) {
    input.write(file(`${folder}/${name}`, `../.git/annex/objects/${hashDirMixed(key)}${key.raw}/${key.raw}`, '120000'))
  }
  input.write(commit('git-annex'))
  input.write(file('uuid.log', `${here} bench timestamp=${TIME}s\n${there} shelf timestamp=${TIME}s\n`))
  for (const { key } of names) input.write(file(`${hashDirLower(key)}${key.raw}.log`, `${TIME}s 1 ${there}\n`))
  input.end()
  await importing
  await runProgram('git', ['-C', repository, 'config', 'annex.uuid', here], { env: gitEnvironment(lab.folder) })
  await runProgram('git', ['-C', repository, 'config', 'annex.version', '10'], { env: gitEnvironment(lab.folder) })
  return repository
}

function commit(branch: string): string {
  return `commit refs/heads/${branch}\ncommitter bench <bench@localhost> ${TIME} +0000\ndata 5\nnames\n`
}

function file(path: string, content: string, mode = '100644'): string {
  return `M ${mode} inline ${path}\ndata ${Buffer.byteLength(content)}\n${content}\n`
}

/** Sparse files of the same names and sizes. */
async function makeFiles(lab: Lab, names: readonly Name[]): Promise<string> {
  const root = await lab.folderFor('files')
  let made = ''
  for (const { folder, name, size } of names) {
    if (folder !== made) {
      mkdirSync(join(root, folder))
      made = folder
      await turn()
    }
    const handle = openSync(join(root, folder, name), 'wx')
    ftruncateSync(handle, size)
    closeSync(handle)
  }
  return root
}

async function list(lab: Lab, path: string): Promise<void> {
  const program = lab.start(['ls', '-lR', path], { env: { LC_ALL: 'C' } })
  await new Promise((resolve) => program.process.once('exit', resolve))
  if (program.process.exitCode !== 0) throw new Error(`ls -lR failed: ${program.said()}`)
}
