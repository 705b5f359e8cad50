/** Text in columns of a terminal: what East Asian characters and combining marks take is reckoned with. */

/** How many columns `text` takes. */
export function widthOf(text: string): number {
  let width = 0
  for (const character of text) width += characterWidth(character)
  return width
}

/** `text` cut or filled to just `width` columns; what is cut ends, or with `middle` has in it, an ellipsis. */
export function fit(
  text: string,
  width: number,
  options: { readonly middle?: boolean; readonly right?: boolean } = {},
): string {
  const own = widthOf(text)
  if (own > width) return options.middle === true ? cutMiddle(text, width) : cut(text, width)
  const space = ' '.repeat(width - own)
  return options.right === true ? `${space}${text}` : `${text}${space}`
}

/** `text` in lines of at most `width` columns, broken at spaces; a longer word has a line of its own. */
export function wrapWords(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && widthOf(line) + 1 + widthOf(word) > width) {
      lines.push(line)
      line = ''
    }
    line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}

/** The same in `most` lines at the most, where what is longer is cut. */
export function wrapText(text: string, width: number, most = Infinity): string[] {
  const lines = wrapWords(text, width)
  const shown = lines.slice(0, most).map((one) => (widthOf(one) > width ? cut(one, width) : one))
  if (lines.length > most) shown[most - 1] = cut(`${shown[most - 1] ?? ''} …`, width)
  return shown
}

function cut(text: string, width: number): string {
  let kept = ''
  let used = 0
  for (const character of text) {
    const own = characterWidth(character)
    if (used + own > width - 1) break
    kept += character
    used += own
  }
  return `${kept}…${' '.repeat(Math.max(0, width - used - 1))}`
}

/** The end of a path says more than its middle. */
function cutMiddle(text: string, width: number): string {
  const characters = Array.from(text)
  const front = within(characters, Math.floor((width - 1) / 3))
  const back = within(characters.toReversed(), width - 1 - widthOf(front.join('')))
  const short = `${front.join('')}…${back.toReversed().join('')}`
  return `${short}${' '.repeat(Math.max(0, width - widthOf(short)))}`
}

/** As many of the first characters as fit. */
function within(characters: readonly string[], width: number): readonly string[] {
  let used = 0
  const end = characters.findIndex((character) => (used += characterWidth(character)) > width)
  return end < 0 ? characters : characters.slice(0, end)
}

function characterWidth(character: string): number {
  const code = character.codePointAt(0) ?? 0
  if (code < 0x300) return 1
  if (/\p{M}|\u200b|\u200d|\ufe0f/u.test(character)) return 0
  return isWide(code) ? 2 : 1
}

/** Unicode's East Asian Width W and F, in the rough. */
function isWide(code: number): boolean {
  return (
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0xffe0 && code <= 0xffe6) ||
    (code >= 0x1f300 && code <= 0x1faff) ||
    (code >= 0x20000 && code <= 0x3fffd)
  )
}
