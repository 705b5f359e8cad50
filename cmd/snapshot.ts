import type { ControlClient } from '../lib/control/client.js'
import { isAnnexfsError } from '../lib/errors.js'
import type { Snapshot } from '../lib/status/snapshot.js'

/** What a running annexfs tells about itself; undefined when it has ended meanwhile. */
export async function snapshotOf(client: ControlClient): Promise<Snapshot | undefined> {
  try {
    return (await client.request('status', {})) as Snapshot
  } catch (error) {
    if (isAnnexfsError(error, 'UNAVAILABLE')) return undefined
    throw error
  }
}
