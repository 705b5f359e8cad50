import { printable } from '../lib/log/log.js'
import { withoutSecrets } from '../lib/log/secrets.js'
import { wrapWords } from './columns.js'

/*
 * Lines on standard error. While something is drawn there (a progress bar), whoever draws it puts them above.
 */

type Write = (text: string) => void

const plainly: Write = (text) => {
  process.stderr.write(text)
}
let write = plainly

/** `above` writes what is told, until the function that is returned is called. */
export function drawing(above: Write): () => void {
  write = above
  return () => {
    if (write === above) write = plainly
  }
}

/** Writes whole lines, each with its newline. */
export function tell(lines: string): void {
  write(lines)
}

/** What went wrong, for people; on a terminal it is broken between words. */
export function complain(message: string): void {
  const line = `annexfs: ${printable(withoutSecrets(message))}`
  const { isTTY, columns } = process.stderr
  tell(`${(isTTY ? wrapWords(line, columns || 80) : [line]).join('\n')}\n`)
}
