import type { Entry } from '../tree/tree.js'

const NAME_MAX = 255

/**
 * True for a name that a folder may show. The tree gives no others; but one bad name would make the kernel refuse the
 * whole folder, so it is checked where it costs nothing.
 */
export function isShowable(name: string): boolean {
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) return false
  return name.length * 3 <= NAME_MAX || Buffer.byteLength(name) <= NAME_MAX
}

/** The entries that can be shown. */
export function showable<C>(entries: readonly Entry<C>[]): readonly Entry<C>[] {
  return entries.every((entry) => isShowable(entry.name)) ? entries : entries.filter((entry) => isShowable(entry.name))
}
