import { parseArgs } from 'node:util'

export interface BenchOptions {
  readonly quick: boolean
  readonly markdown: boolean
  /** Rows or sections, by a part of their name; all when empty. */
  readonly only: readonly string[]
}

export const HELP = `npm run bench [-- OPTIONS]: measures annexfs beside rclone mount and btfs, where they are installed

  --install     get rclone, btfs, nginx, git-annex, libtorrent and fio by apt first
  --quick       a file of 256 MiB instead of 1 GiB, 20,000 names instead of 100,000, fewer tries: about two minutes
  --only ROW    only rows or sections whose name contains this: http, swarm, parallel, watching, media, scanners, names, "4 KiB", ... (several times)
  --markdown    print the tables as they stand in doc/BENCHMARKS.md
`

/** @throws TypeError for unknown options. */
export function benchOptions(argv: readonly string[]): BenchOptions | 'help' {
  const { values } = parseArgs({
    args: argv.slice(),
    options: {
      quick: { type: 'boolean', default: false },
      markdown: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'
  return { quick: values.quick, markdown: values.markdown, only: values.only }
}

/** Whether `row` of `section` was asked for. */
export function isWanted({ only }: BenchOptions, section: string, row: string): boolean {
  const name = `${section}: ${row}`.toLowerCase()
  return only.length === 0 || only.some((part) => name.includes(part.toLowerCase()))
}
