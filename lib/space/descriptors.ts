import { readFileSync } from 'node:fs'

/** What Linux gives a process that nobody has told otherwise. */
const USUAL_LIMIT = 1024

/** How many files this process may have open at once (RLIMIT_NOFILE); Node.js has raised it to the hard limit. */
export const DESCRIPTOR_LIMIT: number = readLimit()

function readLimit(): number {
  try {
    const [, soft] = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
    return soft === undefined ? USUAL_LIMIT : soft === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(soft)
  } catch {
    // Without /proc: what is usual.
    return USUAL_LIMIT
  }
}

/** `share` of the descriptors that this process may have, within bounds. */
export function shareOfDescriptors(share: number, least: number, most: number, limit = DESCRIPTOR_LIMIT): number {
  return Math.max(least, Math.min(most, Math.floor(limit * share)))
}
