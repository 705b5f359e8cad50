import { ATTRIBUTE_TIMEOUT } from './operations.js'
import { MOUNT_SUBTYPE } from './mount-table.js'

/** fuse-native cuts all options after 1,023 bytes. */
const NAME_BYTES = 200

/**
 * The options of the mount, as libfuse 2.9 parses them.
 *
 * - `auto_cache` with `ac_attr_timeout=0`: pages are kept over opens unless time or size changed (see pins.ts); libfuse
 *   asks for both at every open.
 * - `attr_timeout=0.1`: one round trip for each file of `ls -l`, yet a size learned at open reaches readers.
 * - `entry_timeout=1`: names of a ref that moved are seen within a second.
 */
export function mountOptions(options: {
  name: string
  allowOther: boolean
  nonEmpty: boolean
  maxBackground: number
}): string {
  return [
    'ro',
    'nosuid',
    'nodev',
    `fsname=${safeName(options.name)}`,
    `subtype=${MOUNT_SUBTYPE}`,
    'auto_cache',
    'ac_attr_timeout=0',
    `attr_timeout=${ATTRIBUTE_TIMEOUT / 1000}`,
    'entry_timeout=1',
    `max_background=${options.maxBackground}`,
    `congestion_threshold=${options.maxBackground}`,
    ...(options.nonEmpty ? ['nonempty'] : []),
    ...(options.allowOther ? ['allow_other'] : []),
  ].join(',')
}

/** A name that can stand among mount options: a comma would begin another option, a backslash escapes. */
export function safeName(name: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters have no place in a mount table
  const clean = name.replace(/[,\\\s\u0000-\u001f\u007f]/g, '_')
  let short = clean
  while (Buffer.byteLength(short) > NAME_BYTES) short = short.slice(0, -1)
  return short === '' ? MOUNT_SUBTYPE : short
}
