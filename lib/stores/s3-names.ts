import type { Key } from '../annex/key.js'
import { codePoints, replacedUtf8 } from './code-points.js'
import type { S3Settings } from './s3-settings.js'
import type { ObjectName } from './store.js'

/** One object of a bucket. */
export interface S3Object {
  /** UTF-8. */
  readonly name: Buffer
  readonly version?: string
}

/** Versions of one content that are tried. */
const MOST_VERSIONS = 8
/** Object names end at 1024 bytes (Amazon's own limit). */
const LONGEST_VALUE = 3000

/** What `name` is stored under: the prefix and the raw key, or `path` in a tree of files. */
export function objectName(settings: S3Settings, name: ObjectName, path?: Buffer): Buffer {
  const raw = path ?? Buffer.from(`${name.key.raw}${name.suffix ?? ''}`, 'latin1')
  const points = [...codePoints(Buffer.from(settings.prefix)), ...codePoints(raw)]
  return path === undefined && settings.munged ? Buffer.from(munged(points)) : replacedUtf8(points)
}

/** `iaMunge` of git-annex: what the Internet Archive allows in names; white space goes. */
function munged(points: readonly number[]): string {
  return points
    .map((point) => {
      const character = String.fromCodePoint(point)
      if (/^[A-Za-z\p{N}_.\-"]$/u.test(character)) return character
      return /^\s$/u.test(character) ? '' : `&${point};`
    })
    .join('')
}

/**
 * The versions that are recorded for `content` in the metadata of the remote: `VERSIONID#OBJECT` each.
 * @param values bytes as latin1.
 */
export function recordedVersions(values: readonly string[]): S3Object[] {
  const versions: S3Object[] = []
  for (const value of values) {
    const hash = value.indexOf('#')
    const version = value.slice(0, hash)
    // A bucket that keeps no versions is recorded without one.
    if (hash <= 0 || value.length > LONGEST_VALUE || !/^[\x21-\x7e]+$/.test(version)) continue
    versions.push({ name: replacedUtf8(codePoints(Buffer.from(value.slice(hash + 1), 'latin1'))), version })
    if (versions.length === MOST_VERSIONS) break
  }
  return versions
}

/**
 * The versions of the object `name` that the content identifiers of an importtree remote (`.log.cid`) tell: a list by
 * `:`, each plain or `!` and base64; those that begin with `#` are entity tags of a bucket without versions.
 */
export function identifiedVersions(value: string, name: Buffer): S3Object[] {
  return value
    .split(':', MOST_VERSIONS)
    .map((id) => (id.startsWith('!') ? Buffer.from(id.slice(1), 'base64').toString('latin1') : id))
    .filter((id) => id.length <= LONGEST_VALUE && /^[\x21-\x7e]+$/.test(id) && !id.startsWith('#'))
    .map((version) => ({ name, version }))
}

/** URLs among those recorded for `key` that end in the object's name, percent-encoded in whatever way. */
export function recordedUrls(urls: readonly string[], object: S3Object, key: Key, content: Key): string[] {
  if (key.raw !== content.raw) return []
  const wanted = `/${object.name.toString('utf8')}`
  const found = urls.filter((url) => /^https?:/.test(url) && (decoded(url)?.endsWith(wanted) ?? false))
  return found.slice(0, MOST_VERSIONS)
}

function decoded(url: string): string | undefined {
  try {
    return decodeURIComponent(url.replace(/[?#].*$/s, ''))
  } catch {
    // Not percent-encoded UTF-8, hence none of our names.
    return undefined
  }
}
