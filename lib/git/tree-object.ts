/** One entry of a tree object as it stands there: nothing about it is checked. */
export interface TreeEntry {
  readonly mode: number
  /** Raw bytes, one character each. */
  readonly name: string
  /** Hexadecimal. */
  readonly sha: string
}

/** What the type bits of a mode say (git writes 40000, 100644, 100755, 120000, 160000; old ones 100664). */
export type EntryKind = 'dir' | 'file' | 'link' | 'submodule' | 'unknown'

export function entryKind(mode: number): EntryKind {
  switch (mode & 0o170000) {
    case 0o040000:
      return 'dir'
    case 0o100000:
      return 'file'
    case 0o120000:
      return 'link'
    case 0o160000:
      return 'submodule'
    default:
      return 'unknown'
  }
}

/**
 * The entries of a tree object: octal mode, space, name, NUL, binary id. Stops where the bytes no longer make sense, so
 * a damaged tree gives the entries before the damage.
 * @param shaBytes 20 in SHA-1 repositories, 32 in SHA-256 ones.
 */
export function* treeEntries(bytes: Buffer, shaBytes: number): Generator<TreeEntry, void, undefined> {
  let at = 0
  while (at < bytes.length) {
    let mode = 0
    let digits = 0
    for (; digits < 12; digits++) {
      const digit = (bytes[at + digits] ?? 0) - 0x30
      if (digit < 0 || digit > 7) break
      mode = mode * 8 + digit
    }
    if (digits === 0 || digits > 11 || bytes[at + digits] !== 0x20) return
    const nameFrom = at + digits + 1
    const nameTo = bytes.indexOf(0, nameFrom)
    if (nameTo < 0 || nameTo + 1 + shaBytes > bytes.length) return
    at = nameTo + 1 + shaBytes
    yield {
      mode,
      name: bytes.toString('latin1', nameFrom, nameTo),
      sha: bytes.toString('hex', nameTo + 1, at),
    }
  }
}
