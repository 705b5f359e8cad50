import { AnnexfsError } from '../errors.js'
import type { Bytes } from '../space/space.js'
import { entries, integerAt, isDictionary, pick, type Span } from './bencode-spans.js'
import type { TorrentFile } from './torrent.js'

const FILE_KEYS = new Set(['length'])

/**
 * Refuses a hybrid torrent (BEP 52) whose two halves differ: v1 and v2 clients would see different files under one name.
 * The v2 file tree must list the files of v1, padding left out, in the same order with the same names and lengths; and
 * as v2 begins every file in a piece of its own, so must v1.
 * @throws AnnexfsError INVALID
 */
export function refuseDisagreement(bytes: Buffer, tree: Span, files: readonly TorrentFile[], pieceLength: Bytes): void {
  if (!isDictionary(bytes, tree)) throw disagreement('its v2 file tree is no dictionary')
  const v1 = files.filter((file) => !file.padding)
  let index = 0
  for (const { path, length } of walk(bytes, tree, [])) {
    const file = v1[index]
    if (file === undefined) throw disagreement('v2 has more files than v1')
    const rawPath = file.rawPath
    const sameName = rawPath.length === path.length && path.every((key, at) => rawPath[at]?.toString('latin1') === key)
    if (!sameName) throw disagreement(`file ${file.index} has another name or place in v2`)
    if (length !== file.length) throw disagreement(`file ${file.index} has ${file.length} bytes in v1, ${length} in v2`)
    if (file.length > 0 && file.offset % pieceLength !== 0) {
      throw disagreement(`file ${file.index} does not begin a piece in v1 as it does in v2`)
    }
    index += 1
  }
  if (index < v1.length) throw disagreement('v1 has more files than v2')
}

/** The files of a v2 tree; its depth was bounded when the bencode was checked. Keys are latin1. */
function* walk(
  bytes: Buffer,
  tree: Span,
  above: readonly string[],
): Generator<{ path: readonly string[]; length: number | undefined }> {
  for (const [key, value] of entries(bytes, tree.start)) {
    if (!isDictionary(bytes, value)) throw disagreement('its v2 file tree is malformed')
    if (key === '') {
      const length = integerAt(bytes, pick(bytes, value.start, FILE_KEYS).get('length'))
      yield { path: above, length }
    } else yield* walk(bytes, value, [...above, key])
  }
}

function disagreement(why: string): AnnexfsError {
  return new AnnexfsError('INVALID', `this hybrid torrent is refused, its v1 and v2 parts disagree: ${why}`)
}
