import { printable } from './log.js'

/**
 * What a program said, for a message: in one line, without empty lines or runs of blanks; of a line that it wrote over
 * again and again (progress) what was left in the end. Other control characters are shown as in {@link printable}.
 */
export function oneLine(text: string): string {
  const lines = text.split('\n').map((line) => {
    const states = line.split('\r').filter((state) => state.trim() !== '')
    return (states.at(-1) ?? '').trim().replace(/[ \t]+/g, ' ')
  })
  return printable(lines.filter((line) => line !== '').join(' '))
}
