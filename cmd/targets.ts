import { Actions } from '../lib/control/actions.js'
import type { ControlClient } from '../lib/control/client.js'
import { controlOf } from '../lib/control/find.js'
import { actionMethods } from '../lib/control/methods.js'
import { AnnexfsError } from '../lib/errors.js'
import { insideWhichMount } from './inside.js'
import { openForReading } from './open.js'
import { engineSettings, readTimeout, type Given } from './options.js'
import { normalPath } from './paths.js'

/** Whoever can do something to files: the process of a mount, or an engine of our own on the same cache. */
export interface Actor {
  request(
    method: string,
    params: Readonly<Record<string, unknown>>,
    options: { readonly signal: AbortSignal; readonly event?: (value: unknown) => void },
  ): Promise<unknown>
}

/** A file or folder that a command is about. */
export interface Target {
  /** As it was given. */
  readonly given: string
  readonly actor: Actor
  /** In the mount, or in the SOURCE. */
  readonly path: string
}

/**
 * What the arguments of a command mean: paths inside mounts, or a SOURCE and paths in it. `act` is called with all of them,
 * and everything is closed when it is done.
 * @throws AnnexfsError USAGE when they mean neither.
 */
export async function withTargets<T>(
  command: string,
  given: Given,
  act: (targets: readonly Target[], signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const [first, ...others] = given.positional
  if (first === undefined) throw new AnnexfsError('USAGE', `${command} wants a PATH in a mount, or SOURCE PATH`)
  const stop = new AbortController()
  const onSignal = (): void => stop.abort(new AnnexfsError('ABORTED', 'stopped'))
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, onSignal)
  try {
    if ((await insideWhichMount(first)) !== undefined) return await inMounts(given.positional, act, stop.signal)
    if (others.length === 0) {
      throw new AnnexfsError('USAGE', `${first} is not inside a mount of annexfs; for a SOURCE, give a PATH in it, too`)
    }
    return await inSource(first, others, given, act, stop.signal)
  } finally {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, onSignal)
  }
}

type Act<T> = (targets: readonly Target[], signal: AbortSignal) => Promise<T>

async function inMounts<T>(paths: readonly string[], act: Act<T>, signal: AbortSignal): Promise<T> {
  const clients = new Map<string, ControlClient>()
  try {
    const targets: Target[] = []
    for (const path of paths) {
      const found = await insideWhichMount(path)
      if (found === undefined)
        throw new AnnexfsError('NOT_FOUND', `${path} is not there, or not inside a mount of annexfs`)
      const { mountpoint, path: inner } = found
      const actor = clients.get(mountpoint) ?? (await controlOf(mountpoint))
      clients.set(mountpoint, actor)
      targets.push({ given: path, actor, path: inner })
    }
    return await act(targets, signal)
  } finally {
    for (const client of clients.values()) client.close()
  }
}

async function inSource<T>(
  source: string,
  paths: readonly string[],
  given: Given,
  act: Act<T>,
  signal: AbortSignal,
): Promise<T> {
  const inner = paths.map((path) => ({ given: path, path: normalPath(path) }))
  const engine = await openForReading([source], given)
  try {
    const { cacheLimit } = engineSettings(given)
    const methods = actionMethods(new Actions({ engine, cacheLimit, timeout: readTimeout(given) }))
    const actor: Actor = {
      request: async (method, params, { signal: asked, event = () => undefined }) => {
        const run = methods.get(method)
        if (run === undefined) throw new AnnexfsError('UNSUPPORTED', `there is no method ${method}`)
        return run(params, { signal: asked, event })
      },
    }
    return await act(
      inner.map((one) => ({ ...one, actor })),
      signal,
    )
  } finally {
    await engine.volume.close()
  }
}

/** The files that a target means: itself, or all below it. */
export async function filesOf(target: Target, signal: AbortSignal): Promise<readonly string[]> {
  return (await target.actor.request('files', { path: target.path }, { signal })) as readonly string[]
}
