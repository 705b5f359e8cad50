/** A file of a torrent, as git-annex records it. */
export interface TorrentFileUrl {
  /** Of the `.torrent`, or a magnet link. */
  readonly url: string
  /** 1-based place in the metainfo's list of files, padding counted. */
  readonly file: number
}

export type RecordedUrl =
  | { readonly kind: 'web'; readonly url: string }
  | ({ readonly kind: 'torrent' } & TorrentFileUrl)
  | { readonly kind: 'unsupported' }

const LONGEST_URL = 8192

/**
 * What a line of `.log.web` means: the text before its first `:` names the downloader. None before an `http` URL; an
 * empty one when another remote has claimed it, which torrents are (their `#n` is the number of the file).
 */
export function parseRecordedUrl(text: string): RecordedUrl {
  // oxlint-disable-next-line no-control-regex -- these make it no URL
  if (text.length > LONGEST_URL || /[\u0000-\u001f\u007f]/.test(text)) return { kind: 'unsupported' }
  if (/^https?:\/\//i.test(text)) return { kind: 'web', url: text }
  if (!text.startsWith(':')) return { kind: 'unsupported' }
  const claimed = /^(.*?)(?:#(\d{1,7}))?$/s.exec(text.slice(1))
  const [, url = '', number = '1'] = claimed ?? []
  const file = Number(number)
  return isTorrent(url) && file > 0 ? { kind: 'torrent', url, file } : { kind: 'unsupported' }
}

/** What git-annex's bittorrent remote claims: http(s) URLs whose path ends in `.torrent`, and BitTorrent magnets. */
function isTorrent(url: string): boolean {
  if (/^magnet:\?/i.test(url)) return /[?&]xt=urn:btih:/i.test(url)
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) return false
  return new URL(url).pathname.toLowerCase().endsWith('.torrent')
}
