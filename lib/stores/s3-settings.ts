import { AnnexfsError } from '../errors.js'
import { percentEncoded } from '../net/url.js'
import { isTree } from './tree-objects.js'

/** Where requests go, and how they are signed. Changes when the server names another region. */
export interface S3Place {
  /** With the port, when it is not the protocol's own; without the bucket. */
  readonly host: string
  readonly protocol: 'http' | 'https'
  /** The bucket stands in the path, not in the host name. */
  readonly pathStyle: boolean
  readonly signature: 'v2' | 'v4' | 'anonymous'
  readonly region: string
}

/** What remote.log says of an S3 remote (https://git-annex.branchable.com/special_remotes/S3/). */
export interface S3Settings {
  readonly bucket: string
  readonly prefix: string
  /** Names as the Internet Archive takes them. */
  readonly munged: boolean
  /** Files under their own names instead of objects under keys. */
  readonly tree: boolean
  readonly versioning: boolean
  /** Where anyone may read objects, without a slash at the end; undefined when the remote is not said to be public. */
  readonly publicBase: string | undefined
  readonly place: S3Place
}

const AWS = /(?:^|\.)amazonaws\.com(?:\.cn)?$/
const DEFAULT_HOST = 's3.amazonaws.com'
const REGION = /^[a-z0-9][a-z0-9-]{0,39}$/

/**
 * Reads the settings of an S3 remote.
 * @param name of the remote, for messages.
 * @throws AnnexfsError INVALID when they do not name a place.
 */
export function s3Settings(config: ReadonlyMap<string, string>, name: string): S3Settings {
  const bucket = (config.get('bucket') ?? '').toLowerCase()
  if (!/^[^\s/?#\\]{1,255}$/.test(bucket) || /^\.+$/.test(bucket)) {
    throw new AnnexfsError('INVALID', `${name}: its configuration names no bucket (bucket=)`)
  }
  const host = s3Host(config, name)
  const yes = (setting: string): boolean => config.get(setting) === 'yes' || config.get(setting) === 'true'
  return {
    bucket,
    prefix: config.get('fileprefix') ?? '',
    munged: config.get('mungekeys') === 'ia',
    tree: isTree(config),
    versioning: yes('versioning'),
    publicBase: publicBase(config, host, bucket, yes('public')),
    place: place(config, host, bucket, name),
  }
}

function s3Host(config: ReadonlyMap<string, string>, name: string): string {
  const configured = (config.get('host') ?? DEFAULT_HOST).toLowerCase()
  const host = configured === DEFAULT_HOST ? regionHost(datacenterRegion(config)) : configured
  if (!/^(?:[a-z0-9_]([a-z0-9._-]{0,252}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])$/.test(host)) {
    throw new AnnexfsError(
      'INVALID',
      `${name}: ${JSON.stringify(host.slice(0, 100))} is not the name of a host (host=)`,
    )
  }
  return host
}

function datacenterRegion(config: ReadonlyMap<string, string>): string {
  const datacenter = config.get('datacenter') ?? 'US'
  if (datacenter === 'US') return 'us-east-1'
  return datacenter === 'EU' ? 'eu-west-1' : datacenter.toLowerCase()
}

/** Not git-annex's `s3-REGION`: newer regions only have this form. */
function regionHost(region: string): string {
  return region === 'us-east-1' ? DEFAULT_HOST : `s3.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`
}

function place(config: ReadonlyMap<string, string>, host: string, bucket: string, name: string): S3Place {
  const aws = AWS.test(host)
  const port = portOf(config, name)
  const stated = config.get('protocol')
  // Amazon answers on 443 everywhere, and what git-annex records by default is plain HTTP.
  const upgraded = aws && stated === undefined && (port === undefined || port === 80)
  const protocol = upgraded || stated === 'https' || (stated !== 'http' && port === 443) ? 'https' : 'http'
  const usual = protocol === 'https' ? 443 : 80
  const region = config.get('region')?.toLowerCase()
  // Certificates are for one name in front of the host.
  const pathStyle = config.get('requeststyle') === 'path' || (protocol === 'https' && aws && bucket.includes('.'))
  if (!pathStyle && (!/^[a-z0-9._-]+$/.test(bucket) || host.startsWith('['))) {
    throw new AnnexfsError('INVALID', `${name}: no host can be named after the bucket; set requeststyle=path`)
  }
  return {
    host: port === undefined || port === usual || upgraded ? host : `${host}:${port}`,
    protocol,
    pathStyle,
    signature: signatureOf(config.get('signature'), aws, name),
    region: region !== undefined && REGION.test(region) ? region : regionOfHost(host),
  }
}

function portOf(config: ReadonlyMap<string, string>, name: string): number | undefined {
  const text = config.get('port')
  if (text === undefined || text === '') return undefined
  const port = Number(text)
  if (/^\d{1,5}$/.test(text) && port > 0 && port < 65_536) return port
  throw new AnnexfsError('INVALID', `${name}: ${JSON.stringify(text.slice(0, 20))} is not a port (port=)`)
}

function signatureOf(text: string | undefined, aws: boolean, name: string): S3Place['signature'] {
  if (text === 'anonymous') return 'anonymous'
  if (text !== undefined && text !== 'v2' && text !== 'v4') {
    const shown = JSON.stringify(text.slice(0, 20))
    throw new AnnexfsError('UNSUPPORTED', `${name}: signature=${shown} is not known; v2, v4 and anonymous are`)
  }
  // All regions of Amazon take v4, the newer ones nothing else; git-annex used to record v2 without being told to.
  return aws ? 'v4' : (text ?? 'v2')
}

/** The region that signatures are for, as far as a host's name tells; else the one that other servers take for theirs. */
function regionOfHost(host: string): string {
  if (AWS.test(host)) {
    const name = /(?:^|\.)s3[.-](?:fips[.-])?(?:dualstack\.)?([a-z0-9-]+)\.amazonaws\.com/.exec(host)?.[1]
    return name ?? 'us-east-1'
  }
  return /^s3[.-]([a-z0-9]+(?:-[a-z0-9]+)+)\.[^.]+\./.exec(host)?.[1] ?? 'us-east-1'
}

/** git-annex's rules for who may read without credentials. */
function publicBase(
  config: ReadonlyMap<string, string>,
  host: string,
  bucket: string,
  isPublic: boolean,
): string | undefined {
  const archive = host.endsWith('.archive.org')
  const stated = config.get('publicurl') ?? ''
  if (stated !== '' && stated !== 'yes' && stated !== 'no') return stated.replace(/\/+$/, '')
  if (!isPublic && !archive && stated !== 'yes') return undefined
  if (archive) return `https://archive.org/download/${percentEncoded(Buffer.from(bucket))}`
  if (!AWS.test(host)) return undefined
  return bucket.includes('.') ? `https://${host}/${bucket}` : `https://${bucket}.${host}`
}

/** `place` when the bucket is in another region. */
export function movedTo(place: S3Place, region: string): S3Place {
  const host = AWS.test(place.host) ? regionHost(region) : place.host
  return { ...place, host, region }
}

/** The URL of the bucket, without a slash at the end. */
export function bucketUrl(place: S3Place, bucket: string): string {
  const { protocol, host, pathStyle } = place
  return pathStyle ? `${protocol}://${host}/${percentEncoded(Buffer.from(bucket))}` : `${protocol}://${bucket}.${host}`
}

export function isRegion(text: string): boolean {
  return REGION.test(text)
}
