import type { Engine } from '../lib/engine/engine.js'
import { reasonOf } from '../lib/errors.js'
import type { Log } from '../lib/log/log.js'

/** Not before whoever waits for it has listed it. */
const REHEARSED_AFTER = 10

/** Has a program that serves files compile what the first read of them takes, in a moment. */
export function rehearseSoon(engine: Pick<Engine, 'rehearse'>, log: Log): { cancel(): void } {
  const rehearsing = setTimeout(() => {
    engine.rehearse().catch((error: unknown) => log.debug('could not rehearse', { reason: reasonOf(error) }))
  }, REHEARSED_AFTER)
  rehearsing.unref()
  return { cancel: () => clearTimeout(rehearsing) }
}
