import { AnnexfsError, throwIfAborted } from '../errors.js'
import type { HttpBody } from '../net/http-body.js'
import type { StoreContext } from './context.js'
import { firstFound } from './first-found.js'
import { httpObject, type HttpObjectOptions } from './http-object.js'
import { RememberedCredentials } from './remembered-credentials.js'
import { identifiedVersions, objectName, recordedUrls, recordedVersions, type S3Object } from './s3-names.js'
import { readRefusal, refusalError } from './s3-refusal.js'
import { bucketUrl, movedTo, s3Settings, type S3Place, type S3Settings } from './s3-settings.js'
import { signedV2, signedV4 } from './s3-sign.js'
import type { ObjectName, ObjectStore, StoredObject } from './store.js'
import { pathInTree } from './tree-objects.js'
import { urlBelow } from './url-path.js'

/** Refusals after which credentials are asked for anew: they may have been renewed meanwhile. */
const STALE: ReadonlySet<string> = new Set([
  'ExpiredToken',
  'InvalidAccessKeyId',
  'InvalidToken',
  'SignatureDoesNotMatch',
])

/**
 * A bucket of Amazon S3 or a server like it: signed requests with the remote's credentials, otherwise the public URLs
 * that git-annex would use.
 * @throws AnnexfsError INVALID, UNSUPPORTED for settings that name no place.
 */
export function s3Store(context: StoreContext): ObjectStore {
  const { remote } = context
  const name = `${remote.name} (S3)`
  return new S3Store(context, name, s3Settings(remote.config, name))
}

class S3Store implements ObjectStore {
  readonly #context: StoreContext
  readonly #name: string
  readonly #settings: S3Settings
  /** Follows what the server says of regions and signatures. */
  #place: S3Place
  readonly #credentials: RememberedCredentials

  constructor(context: StoreContext, name: string, settings: S3Settings) {
    this.#context = context
    this.#name = name
    this.#settings = settings
    this.#credentials = new RememberedCredentials(context)
    this.#place = settings.place
  }

  async open(name: ObjectName, signal: AbortSignal): Promise<StoredObject | undefined> {
    throwIfAborted(signal)
    const objects = await this.#objects(name)
    if (objects.length === 0) return undefined
    const found =
      this.#place.signature === 'anonymous' || (await this.#credentials.get()) !== undefined
        ? objects.map((object) => this.#signed(object, name))
        : (await this.#publicUrls(objects, name)).map((url) => this.#public(url, name))
    if (found.length === 0) throw this.#noCredentials()
    return firstFound(found)
  }

  /** Where the content may be, likeliest first: recorded versions of it, and what is there now under its name. */
  async #objects(name: ObjectName): Promise<S3Object[]> {
    const { versioning, tree } = this.#settings
    const path = tree ? pathInTree(name, this.#context.remote.config) : undefined
    // The key names no place in a tree of files.
    const now = tree && path === undefined ? undefined : objectName(this.#settings, name, path)
    const versions = versioning ? await this.#versions(name, now) : []
    return now === undefined ? versions : [...versions, { name: now }]
  }

  async #versions(name: ObjectName, now: Buffer | undefined): Promise<S3Object[]> {
    const { annex, remote } = this.#context
    const uuid = remote.configUuid ?? remote.uuid
    const recorded = await annex.metadataOf(name.key, '.log.rmet')
    // Names of fields come in lower case.
    const versions = recordedVersions(recorded.get(`${uuid}:v`) ?? [])
    if (versions.length > 0 || now === undefined || remote.config.get('importtree') !== 'yes') return versions
    return identifiedVersions((await annex.stateOf(name.content, '.log.cid')).get(uuid) ?? '', now)
  }

  #signed(object: S3Object, name: ObjectName): StoredObject {
    return this.#object(this.#url(object), name, {
      client: this.#context.client,
      authorize: async ({ method, url }) => {
        const place = this.#place
        const credentials = place.signature === 'anonymous' ? undefined : await this.#credentials.get()
        if (credentials === undefined) return {}
        const request = { method, url, date: new Date() }
        return place.signature === 'v4'
          ? signedV4(request, credentials, place.region)
          : signedV2(request, credentials, place.pathStyle ? undefined : this.#settings.bucket)
      },
      refused: async (answer, sent) => {
        const refusal = await readRefusal(answer)
        if (STALE.has(refusal.code)) this.#credentials.forget()
        const { region, wantsV4 } = refusal
        const place = this.#place
        if (wantsV4 && place.signature === 'v2') {
          this.#place = { ...place, signature: 'v4' }
          return this.#url(object)
        }
        // Compared with what this request was signed for: one beside it may have been told before.
        const signedFor = SCOPE.exec(sent['authorization'] ?? '')?.[1]
        if (signedFor !== undefined && region !== undefined && region !== signedFor && MISPLACED.has(answer.status)) {
          this.#context.log.debug('bucket is in another region', { remote: this.#name, region })
          this.#place = movedTo(place, region)
          return this.#url(object)
        }
        return refusalError(answer, refusal, this.#name)
      },
    })
  }

  #public(url: string, name: ObjectName): StoredObject {
    const refused = async (answer: HttpBody): Promise<AnnexfsError | undefined> =>
      refusalError(answer, await readRefusal(answer), this.#name)
    return this.#object(url, name, { client: this.#context.urls, refused })
  }

  #object(
    url: string,
    { size }: ObjectName,
    hooks: Pick<HttpObjectOptions, 'client' | 'authorize' | 'refused'>,
  ): StoredObject {
    const { log } = this.#context
    return httpObject({ url, name: this.#name, log, ...hooks, ...(size === undefined ? {} : { size }) })
  }

  #url(object: S3Object): string {
    return versioned(urlBelow(bucketUrl(this.#place, this.#settings.bucket), object.name), object)
  }

  async #publicUrls(objects: readonly S3Object[], name: ObjectName): Promise<string[]> {
    const base = this.#settings.publicBase
    if (base !== undefined) return objects.map((object) => versioned(urlBelow(base, object.name), object))
    const urls = await this.#context.annex.urls(name.content)
    return objects.flatMap((object) => recordedUrls(urls, object, name.key, name.content))
  }

  #noCredentials(): AnnexfsError {
    const { remote } = this.#context
    return new AnnexfsError(
      'FORBIDDEN',
      `${this.#name}: there are no credentials for the bucket ${this.#settings.bucket} and no public URL; set ` +
        `AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give them to git annex enableremote ${remote.name}`,
    )
  }
}

/** The region in a signature of version 4. */
const SCOPE = /\/([a-z0-9-]+)\/s3\/aws4_request/
/** Answers of a region that the bucket is not in. */
const MISPLACED: ReadonlySet<number> = new Set([301, 307, 400, 403])

function versioned(url: string, { version }: S3Object): string {
  return version === undefined ? url : `${url}?versionId=${encodeURIComponent(version)}`
}
