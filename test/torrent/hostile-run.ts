import { readFileSync } from 'node:fs'
import { isAnnexfsError, reasonOf } from '../../lib/errors.js'
import { parseMetainfo, type Metainfo } from '../../lib/torrent/metainfo.js'
import { millisecondsOf } from './cost.js'

/**
 * Reads the metainfo files given on the command line and prints a line of JSON for each: what came of it, and what it
 * cost. Memory is the growth of the process's peak, with the file's bytes.
 */
export interface Outcome {
  readonly path: string
  readonly result: 'refused' | 'safe' | 'unsafe'
  readonly detail: string
  readonly milliseconds: number
  readonly mebibytes: number
}

for (const path of process.argv.slice(2)) {
  const memoryBefore = process.resourceUsage().maxRSS
  let result: Outcome['result'] = 'refused'
  let detail = ''
  const milliseconds = millisecondsOf(() => {
    try {
      const problem = unsafe(parseMetainfo(readFileSync(path)))
      result = problem === undefined ? 'safe' : 'unsafe'
      detail = problem ?? ''
    } catch (error) {
      detail = reasonOf(error)
      if (!isAnnexfsError(error)) result = 'unsafe'
    }
  })
  const mebibytes = (process.resourceUsage().maxRSS - memoryBefore) / 1024
  const outcome: Outcome = { path, result, detail: detail.slice(0, 200), milliseconds, mebibytes }
  process.stdout.write(`${JSON.stringify(outcome)}\n`)
}

/** What is wrong with the names of `metainfo`, or undefined. */
function unsafe(metainfo: Metainfo): string | undefined {
  const files = new Set<string>()
  const folders = new Set<string>()
  if (!isSafe(metainfo.name)) return `the name ${metainfo.name}`
  for (const file of metainfo.files) {
    if (file.hidden) continue
    if (file.path.length === 0 || !file.path.every(isSafe)) return `the path ${file.path.join(' / ')}`
    const path = file.path.join('/')
    if (files.has(path)) return `${path} is there twice`
    files.add(path)
    if (file.link !== undefined && file.link.split('/').filter((part) => part === '..').length >= file.path.length) {
      return `the link ${path} leads out, to ${file.link}`
    }
    for (let depth = 1; depth < file.path.length; depth += 1) folders.add(file.path.slice(0, depth).join('/'))
  }
  for (const folder of folders) if (files.has(folder)) return `${folder} is a file and a folder`
  return undefined
}

function isSafe(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0\uFFFD]/.test(name) && Buffer.byteLength(name) <= 255
}
