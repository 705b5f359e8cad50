/**
 * The settings of a repository that is behind HTTP, from the text of its `config` (git-config(1), "Syntax"), by
 * `section.key` or `section.subsection.key` with section and key in lower case; the last of a name wins. Included files
 * are not read. What does not parse is left out.
 */
export function parseConfigText(text: string): ReadonlyMap<string, string> {
  const settings = new Map<string, string>()
  let section = ''
  for (const line of text.replace(/\\\r?\n/g, '').split('\n')) {
    const header = /^\s*\[\s*([A-Za-z0-9.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\]\s*(.*)$/.exec(line)
    if (header !== null) {
      const [, name = '', subsection] = header
      section = name.toLowerCase() + (subsection === undefined ? '' : `.${subsection.replace(/\\(.)/g, '$1')}`)
    }
    const setting = /^\s*([A-Za-z][A-Za-z0-9-]*)\s*(?:=\s*(.*))?$/.exec(header?.[3] ?? line)
    if (setting === null || section === '') continue
    const [, key = '', value] = setting
    settings.set(`${section}.${key.toLowerCase()}`, value === undefined ? 'true' : plainValue(value))
  }
  return settings
}

/** Without quotes, escapes and the comment at its end. */
function plainValue(text: string): string {
  let value = ''
  let quoted = false
  let length = 0
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at)
    if (character === '\\') {
      const next = text.charAt(++at)
      value += { n: '\n', t: '\t', b: '\b' }[next] ?? next
    } else if (character === '"') quoted = !quoted
    else if (!quoted && (character === '#' || character === ';')) break
    else value += character
    // Spaces at the end count only within quotes.
    if (quoted || !/\s/.test(character)) length = value.length
  }
  return value.slice(0, length)
}
