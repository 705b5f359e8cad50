import { AnnexfsError } from '../errors.js'

/** An element of a parsed document; text, comments and attributes that are no namespaces are of no interest here. */
export interface XmlElement {
  readonly namespace: string
  readonly name: string
  readonly children: XmlElement[]
}

const DEEPEST = 32
const MOST_ELEMENTS = 1_000

/** One piece of markup, or text. What XML forbids where it stands is no match. */
const TOKEN =
  /<\?[^>]*\?>|<!--(?:[^-]|-[^-])*-->|<!\[CDATA\[(?:[^\]]|\](?!\]>))*\]\]>|<\/([^\s<>/]+)\s*>|<([^\s<>/!?]+)((?:\s+[^\s<>/=]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>|[^<]+/gy

const NAME = /^[\p{L}_][\p{L}\p{N}\p{M}._-]*$/u

interface Open {
  readonly tag: string
  readonly element: XmlElement
  readonly prefixes: ReadonlyMap<string, string>
}

/**
 * Parses the small documents that WebDAV clients send: elements and their namespaces. Knows no DOCTYPE, and so no
 * entities but the five of XML itself.
 * @throws AnnexfsError INVALID.
 */
export function parseXml(text: string): XmlElement {
  const roots: XmlElement[] = []
  const stack: Open[] = []
  let count = 0
  let at = text.startsWith('\ufeff') ? 1 : 0
  while (at < text.length) {
    TOKEN.lastIndex = at
    const match = TOKEN.exec(text)
    if (match === null) throw invalid('what is neither markup nor text')
    at = TOKEN.lastIndex
    const [whole, closed, opened, attributes = '', empty] = match
    if (closed !== undefined) {
      if (stack.pop()?.tag !== closed) throw invalid('an end tag without its start')
    } else if (opened !== undefined) {
      if (++count > MOST_ELEMENTS || stack.length >= DEEPEST) throw invalid('too many elements')
      const prefixes = inScope(stack.at(-1)?.prefixes ?? new Map(), attributes)
      const element = { ...expand(opened, prefixes), children: [] }
      const siblings = stack.at(-1)?.element.children ?? roots
      siblings.push(element)
      if (empty !== '/') stack.push({ tag: opened, element, prefixes })
    } else if (stack.length === 0 && !whole.startsWith('<') && whole.trim() !== '') {
      throw invalid('text outside of the root')
    }
  }
  const [root, ...others] = roots
  if (root === undefined || others.length > 0 || stack.length > 0) throw invalid('not one whole element')
  return root
}

function inScope(outer: ReadonlyMap<string, string>, attributes: string): ReadonlyMap<string, string> {
  const own = new Map(outer)
  for (const [, name = '', double, single] of attributes.matchAll(/([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g)) {
    const prefix = name === 'xmlns' ? '' : name.startsWith('xmlns:') ? name.slice(6) : undefined
    if (prefix !== undefined) own.set(prefix, plain(double ?? single ?? ''))
  }
  return own
}

function expand(tag: string, prefixes: ReadonlyMap<string, string>): { namespace: string; name: string } {
  const colon = tag.indexOf(':')
  const prefix = colon < 0 ? '' : tag.slice(0, colon)
  const name = tag.slice(colon + 1)
  const namespace = prefixes.get(prefix) ?? (prefix === '' ? '' : undefined)
  if (namespace === undefined || !NAME.test(name)) throw invalid('a name that is none')
  return { namespace, name }
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

function plain(value: string): string {
  return value.replace(/&(\w+);/g, (all, name: string) =>
    Object.hasOwn(ENTITIES, name) ? (ENTITIES[name] ?? all) : all,
  )
}

function invalid(what: string): AnnexfsError {
  return new AnnexfsError('INVALID', `the body is not the XML that was to come: ${what}`)
}
