import { OURS, ratioTo, type Figure, type Row } from './figure.js'

const HEAD = ['', 'annexfs', 'other', '', 'ratio', 'target', '']

/** The table as aligned text. */
export function textTable(rows: readonly Row[]): string {
  const sections = new Map<string, string[][]>()
  for (const row of rows) {
    const lines = sections.get(row.section) ?? []
    sections.set(row.section, lines)
    lines.push(...linesOf(row))
  }
  const all = [HEAD, ...[...sections.values()].flat()]
  const widths = HEAD.map((_, column) => Math.max(...all.map((line) => line[column]?.length ?? 0)))
  const render = (line: readonly string[]): string =>
    line
      .map((cell, column) =>
        column === 0 || column > 5 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd()
  return [...sections]
    .map(([section, lines]) => [section, render(HEAD), ...lines.map(render), ''].join('\n'))
    .join('\n')
}

/** The table as it stands in doc/BENCHMARKS.md. */
export function markdownTable(rows: readonly Row[]): string {
  const sections = [...new Set(rows.map((row) => row.section))]
  return sections
    .map((section) => {
      const lines = rows.filter((row) => row.section === section).flatMap(linesOf)
      const others = lines.map((line) => {
        const [name = '', ours = '', theirs = '', other = '', ratio = '', target = '', verdict = ''] = line
        return `| ${name} | ${ours} | ${theirs}${other === '' ? '' : ` (${other})`} | ${ratio} | ${target} | ${verdict} |`
      })
      return [
        `### ${section}`,
        '',
        '| | annexfs | other | times better | target | |',
        '| --- | ---: | ---: | ---: | ---: | --- |',
        ...others,
        '',
      ].join('\n')
    })
    .join('\n')
}

/** Rows whose target was not reached, and those that could be compared. */
export function verdicts(rows: readonly Row[]): { reached: number; compared: number } {
  const all = rows.flatMap((row) => others(row).map((name) => isReached(row, name)))
  return { reached: all.filter((one) => one === true).length, compared: all.filter((one) => one !== undefined).length }
}

function linesOf(row: Row): string[][] {
  const name = `${row.name}${row.unit === '' ? '' : `, ${row.unit}`}`
  const ours = row.figures[OURS]
  const rivals = others(row)
  if (rivals.length === 0) return [[name, shown(ours), '', 'nothing to compare', '', '', '']]
  return rivals.map((rival) => {
    const ratio = ratioTo(row, rival)
    const verdict = isReached(row, rival)
    return [
      name,
      shown(ours),
      shown(row.figures[rival]),
      rival,
      ratio === undefined ? '' : `${number(ratio)}x`,
      `${row.target}x`,
      verdict === undefined ? '' : verdict ? 'reached' : 'NOT REACHED',
    ]
  })
}

function others(row: Row): string[] {
  return Object.keys(row.figures).filter((name) => name !== OURS)
}

function isReached(row: Row, rival: string): boolean | undefined {
  const ratio = ratioTo(row, rival)
  return ratio === undefined ? undefined : ratio >= row.target
}

/** The median, with least and most where there are several samples. */
function shown(figure: Figure | undefined): string {
  if (figure === undefined) return '–'
  const { median, least, most, samples } = figure
  return samples < 2 ? number(median) : `${number(median)} (${number(least)}–${number(most)})`
}

/** Three digits that matter. */
function number(value: number): string {
  if (!Number.isFinite(value)) return '?'
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US')
  return value.toPrecision(value >= 10 ? 3 : 2).replace(/^(\d+)\.0+$/, '$1')
}
