import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { SecureContext } from 'node:tls'
import { LRUCache } from 'lru-cache'
import { reasonOf, systemCode } from '../errors.js'
import type { Log } from '../log/log.js'

/** What the user can do about a certificate of an authority that is not trusted here. */
export const AUTHORITY_ADVICE =
  "if its authority is to be trusted, install that in the system's certificate store, or name a file with it in " +
  'SSL_CERT_FILE (instead of that store) or NODE_EXTRA_CA_CERTS (besides it)'

/** The system's authorities, all in a file: Debian, Arch and Alpine; Fedora; SUSE; RHEL; others. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
]

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** By the file that is trusted besides; repositories with one each are few. */
const contexts = new LRUCache<string, Promise<SecureContext>>({ max: 16 })

/**
 * What servers' certificates are checked with: the authorities of Node.js (with `NODE_EXTRA_CA_CERTS`) and of the system,
 * which git and git-annex go by (`SSL_CERT_FILE`, else the first there is of the usual files), and of the file `besides`.
 * Made once, when it is first needed: 17 ms for the list of Node.js, which it would take anyway, and 8 ms for the 22 of 144
 * of Debian's that are not in that. All of them given as `ca` would be 40 ms. Later connections take 0.15 ms less than
 * with a context each.
 */
export function trustedAuthorities(besides: string | undefined, log: Log): Promise<SecureContext> {
  const known = contexts.get(besides ?? '') ?? makeContext(besides, log)
  contexts.set(besides ?? '', known)
  return known
}

async function makeContext(besides: string | undefined, log: Log): Promise<SecureContext> {
  const { createSecureContext, rootCertificates } = await import('node:tls')
  const known = new Set(rootCertificates.map(ending))
  const added: string[] = []
  for (const { file, text } of await bundles(besides, log)) {
    const found = text.match(CERTIFICATE) ?? []
    const others = found.filter((certificate) => !known.has(ending(certificate)))
    const sound = others.filter(isSound)
    if (found.length === 0 || sound.length < others.length) {
      log.warn('a file of certificates has some that make no sense, or none', {
        file,
        broken: others.length - sound.length,
      })
    }
    for (const certificate of sound) known.add(ending(certificate))
    added.push(...sound)
  }
  log.debug('authorities', { node: rootCertificates.length, others: added.length })
  const context = createSecureContext()
  // Not documented, but in every Node.js: the list that contexts share is copied before anything is added to it.
  const own = context.context as { addCACert?: (certificates: string) => void }
  if (own.addCACert === undefined) return createSecureContext({ ca: [...rootCertificates, ...added] })
  if (added.length > 0) own.addCACert(added.join('\n'))
  return context
}

interface Bundle {
  readonly file: string
  readonly text: string
}

async function bundles(besides: string | undefined, log: Log): Promise<readonly Bundle[]> {
  const { SSL_CERT_FILE: own = '', NODE_EXTRA_CA_CERTS: extra = '' } = process.env
  const read: Bundle[] = []
  for (const file of own === '' ? BUNDLES : [own]) {
    const text = await textOf(file, log, own === '')
    if (text === undefined) continue
    read.push({ file, text })
    break
  }
  for (const file of [extra, besides ?? '']) {
    const text = file === '' ? undefined : await textOf(file, log, false)
    if (text !== undefined) read.push({ file, text })
  }
  return read
}

/** Undefined when it cannot be read, which is told unless it `maybe` is not there. */
async function textOf(file: string, log: Log, maybe: boolean): Promise<string | undefined> {
  try {
    return await readFile(file, 'latin1')
  } catch (error) {
    const reason = systemCode(error) ?? reasonOf(error)
    if (!maybe || reason !== 'ENOENT') log.warn('a file of certificates cannot be read', { file, reason })
    return undefined
  }
}

/** Node.js leaves out silently what it cannot parse. */
function isSound(certificate: string): boolean {
  try {
    return new X509Certificate(certificate).raw.length > 0
  } catch {
    return false
  }
}

/** The end of the signature, which no other certificate has: lines are of different lengths in different files. */
function ending(certificate: string): string {
  return certificate.slice(-150, -25).replace(/\s/g, '').slice(-88)
}
