import { lookup } from 'mime-types'

/** Names without an extension that are text by custom. */
const TEXT_NAMES =
  /^(readme|license|licence|copying|changelog|changes|news|authors|contributors|install|todo|notice|makefile|dockerfile|\.git[a-z]+)$/i

/** What the register of media types does not know, or knows as something rare. */
const OWN: Readonly<Record<string, string>> = {
  m2ts: 'video/mp2t',
  mts: 'video/mp2t',
  ipynb: 'application/json',
  cue: 'text/plain',
  go: 'text/plain',
  jl: 'text/plain',
  nfo: 'text/plain',
  py: 'text/plain',
  rs: 'text/plain',
  srt: 'text/plain',
}

/** The media type that a name promises, without parameters. What it does not say is bytes. */
export function mediaType(name: string): string {
  const extension = /[^.]\.([^.]+)$/.exec(name)?.[1]?.toLowerCase()
  if (extension === undefined) return TEXT_NAMES.test(name) ? 'text/plain' : BYTES
  const known = Object.hasOwn(OWN, extension) ? OWN[extension] : lookup(`.${extension}`)
  return known === undefined || known === false ? BYTES : known
}

const BYTES = 'application/octet-stream'

const TEXTUAL = /^(text\/|application\/(json|javascript|toml|x-sh|xml)$|[a-z]+\/[a-z0-9.-]+\+(json|xml)$)/

/** The Content-Type of a file. Text is said to be UTF-8: most is, and nothing must be guessed. */
export function contentType(name: string): string {
  const type = mediaType(name)
  return TEXTUAL.test(type) ? `${type}; charset=utf-8` : type
}

/** Whether players play it. */
export function isMedia(name: string): boolean {
  return /^(audio|video)\/(?!x-mpegurl|mpegurl|x-scpls)/.test(mediaType(name))
}
