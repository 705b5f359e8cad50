import { AnnexfsError } from '../lib/errors.js'
import { printable } from '../lib/log/log.js'
import type { Content } from '../lib/engine/content.js'
import type { Entry, Node } from '../lib/tree/tree.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import { openForReading } from './open.js'
import { SOURCE_OPTIONS } from './options.js'
import { normalPath } from './paths.js'

const NO_SIGNAL = new AbortController().signal

/** `annexfs ls SOURCE [PATH]` */
export const lsCommand: Command = {
  name: 'ls',
  summary: 'list a folder of a SOURCE, without mounting it',
  usage: ['SOURCE [PATH] [-l] [options]'],
  description:
    'Lists what is at PATH (the root unless given), sorted by name. With -l: kind and permissions, size in bytes ' +
    '("?" while nobody knows it), time of the commit or metainfo, name. Fetches no content.',
  options: [{ name: 'long', short: 'l', help: 'one line a file with mode, size and time' }, ...SOURCE_OPTIONS],
  async run(given) {
    const [source, path = '/', ...rest] = given.positional
    if (source === undefined || rest.length > 0)
      throw new AnnexfsError('USAGE', 'ls wants a SOURCE and at most one PATH')
    const at = normalPath(path)
    const { volume } = await openForReading([source], given)
    try {
      const node = await volume.lookup(at, NO_SIGNAL)
      if (node === undefined) throw new AnnexfsError('NOT_FOUND', `${source} has no ${at}`)
      const entries: Entry<Content>[] =
        node.kind === 'dir'
          ? [...(await volume.list(at, NO_SIGNAL))]
          : [{ name: at.slice(at.lastIndexOf('/') + 1), node }]
      entries.sort((a, b) => (a.name < b.name ? -1 : 1))
      for (const entry of entries) {
        const line = given.has('long') ? await longLine(entry, at, node.kind === 'dir') : printable(entry.name)
        if (!process.stdout.write(`${line}\n`)) await drained()
      }
    } finally {
      await volume.close()
    }
    return EXIT.ok

    async function longLine(entry: Entry<Content>, folder: string, inFolder: boolean): Promise<string> {
      const full = inFolder ? `${folder === '/' ? '' : folder}/${entry.name}` : folder
      // The size of a key without one may have been learned before: lookup knows, the listing does not.
      const shown = (await volume.lookup(full, NO_SIGNAL)) ?? entry.node
      const time = new Date(shown.mtime).toISOString().replace(/\.\d+Z$/, 'Z')
      const target = shown.kind === 'link' ? ` -> ${printable(shown.target)}` : ''
      return `${mode(shown)} ${size(shown).padStart(14)} ${time} ${printable(entry.name)}${target}`
    }
  },
}

function mode(node: Node<Content>): string {
  if (node.kind === 'dir') return 'dr-xr-xr-x'
  if (node.kind === 'link') return 'lrwxrwxrwx'
  return node.executable ? '-r-xr-xr-x' : '-r--r--r--'
}

function size(node: Node<Content>): string {
  if (node.kind !== 'file') return '-'
  return node.size === undefined ? '?' : String(node.size)
}

function drained(): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.once('drain', resolve)
  })
}
