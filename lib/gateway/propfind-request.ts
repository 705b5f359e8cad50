import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { AnnexfsError } from '../errors.js'
import { parseXml } from './xml.js'

/** The namespace of WebDAV's own properties. */
export const DAV = 'DAV:'

export interface PropertyName {
  readonly namespace: string
  readonly name: string
}

/** What a PROPFIND wants to know (RFC 4918, section 9.1). */
export type Wanted =
  { readonly kind: 'all' | 'names' } | { readonly kind: 'some'; readonly names: readonly PropertyName[] }

/** Each resource of the answer may list all names that were asked for. */
const MOST_NAMES = 64
const MOST_BODY = 16 * 1024

/** Reads the body of a PROPFIND; none means all properties. @throws AnnexfsError INVALID. */
export async function wantedProperties(request: IncomingMessage): Promise<Wanted> {
  const body = await bodyOf(request)
  if (body.trim() === '') return { kind: 'all' }
  const root = parseXml(body)
  const [choice] = root.children.filter(
    ({ namespace, name }) => namespace === DAV && ['prop', 'propname', 'allprop'].includes(name),
  )
  if (root.namespace !== DAV || root.name !== 'propfind' || choice === undefined) {
    throw new AnnexfsError('INVALID', 'the body is not a DAV: propfind')
  }
  if (choice.name === 'propname') return { kind: 'names' }
  if (choice.name === 'allprop') return { kind: 'all' }
  if (choice.children.length > MOST_NAMES) {
    throw new AnnexfsError('INVALID', `the body asks for more than ${MOST_NAMES} properties`)
  }
  const names = new Map(choice.children.map(({ namespace, name }) => [`${namespace} ${name}`, { namespace, name }]))
  return { kind: 'some', names: [...names.values()] }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > MOST_BODY) throw new AnnexfsError('INVALID', `the body is longer than ${MOST_BODY} bytes`)
    chunks.push(chunk)
  }
  const bytes = Buffer.concat(chunks)
  if (!isUtf8(bytes)) throw new AnnexfsError('INVALID', 'the body is not UTF-8')
  return bytes.toString('utf8')
}
