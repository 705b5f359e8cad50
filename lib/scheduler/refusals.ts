import { AnnexfsError, attemptText, type Attempt } from '../errors.js'
import { seconds } from '../log/amounts.js'
import type { Milliseconds } from '../space/space.js'
import type { Supplier } from './candidates.js'
import { closedText, HAS_NOT_SAID, type Wait } from './explain.js'
import { hasPiece } from './offers.js'
import type { Trust } from './trust.js'

/** What a read is told that failed: what was tried, and what each source said. */

/**
 * A deadline's error says what was being tried.
 * @param usable the sources that could have been asked; undefined while nobody knows them.
 */
export function timedOut(error: AnnexfsError, wait: Wait, usable: readonly Supplier[] | undefined): AnnexfsError {
  if (error.code !== 'TIMED_OUT') return error
  const { flight, refused, asked = [], now } = wait
  const running = [...flight.carriers].map((carrier) => ({
    source: carrier.supplier.source.name,
    reason: carrier.awaited.now ?? `no answer for ${seconds(now - carrier.lastProgress)}`,
  }))
  const silent = asked.map((source) => ({ source, reason: HAS_NOT_SAID }))
  const attempts = [...flight.attempts, ...refused, ...running, ...silent]
  const tried = attempts.length > 0 ? attempts : queued(usable, now)
  const listed = tried.map(attemptText).join('; ')
  return new AnnexfsError('TIMED_OUT', listed === '' ? error.message : `${error.message} (${listed})`, {
    attempts: tried,
    cause: error.cause,
  })
}

function queued(usable: readonly Supplier[] | undefined, now: Milliseconds): Attempt[] {
  if (usable === undefined) return [{ source: 'looking for sources', reason: 'no answer yet' }]
  return usable.map((one) => ({
    source: one.source.name,
    reason: closedText(one, now) ?? 'busy with earlier reads that have no answer yet',
  }))
}

/** All sources have failed, or there are none. */
export function unavailable({ space, flight, suppliers, refused }: Wait, trust: Pick<Trust, 'explain'>): AnnexfsError {
  const liars = suppliers.flatMap((one) => {
    const reason = trust.explain(one)
    return reason === undefined ? [] : [{ source: one.source.name, reason }]
  })
  const lied = new Set(liars.map((one) => one.source))
  const failed = flight.attempts.filter((one) => !lied.has(one.source))
  const said = new Set([...lied, ...failed.map((one) => one.source)])
  const aside = suppliers.flatMap(({ source: { name }, setAside }) =>
    setAside === false || said.has(name) ? [] : [{ source: name, reason: setAside }],
  )
  const lost = suppliers
    .filter((one) => one.setAside === false && !said.has(one.source.name) && !hasPiece(one, space, flight.index))
    .map((one) => ({ source: one.source.name, reason: 'does not have it any more' }))
  const attempts = [...failed, ...aside, ...lost, ...refused, ...liars]
  return new AnnexfsError('UNAVAILABLE', message(attempts), { attempts })
}

function message(attempts: readonly Attempt[]): string {
  if (attempts.length === 0) return 'no source is known to have this content'
  const said = new Set(attempts.map(attemptText))
  return `no source could give this content: ${[...said].join('; ')}`
}
