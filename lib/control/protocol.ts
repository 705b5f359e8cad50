import { AnnexfsError, isAnnexfsError, reasonOf, type ErrorCode } from '../errors.js'
import type { Bytes } from '../space/space.js'

/* What goes over a control socket: doc/CONTROL.md. One JSON value a line, both ways. */

/** Raised when a client of an older version would misunderstand. */
export const PROTOCOL = 1
/** The longest line that a server takes. */
export const LONGEST_REQUEST: Bytes = 64 * 1024
/** The longest line that a client takes. */
export const LONGEST_ANSWER: Bytes = 16 * 1024 * 1024

export interface Request {
  readonly id: number | string
  readonly method: string
  readonly params: Readonly<Record<string, unknown>>
}

/** To one request: any number of events, then a result or an error. */
export type Answer =
  | { readonly id: number | string; readonly event: unknown }
  | { readonly id: number | string; readonly result: unknown }
  | { readonly id: number | string | null; readonly error: { readonly code: ErrorCode; readonly message: string } }

/** Does what a method says; `event` tells the client something on the way. */
export type Method = (
  params: Readonly<Record<string, unknown>>,
  context: { readonly signal: AbortSignal; readonly event: (value: unknown) => void },
) => Promise<unknown>

/** @throws AnnexfsError INVALID for a line that is no request. */
export function parseRequest(line: string): Request {
  const value = parseObject(line)
  const { id, method, params = {} } = value
  if ((typeof id !== 'number' || !Number.isSafeInteger(id)) && (typeof id !== 'string' || id.length > 100)) {
    throw new AnnexfsError('INVALID', 'a request has an id: a whole number or a short string')
  }
  if (typeof method !== 'string') throw new AnnexfsError('INVALID', 'a request has a method: a string')
  if (!isObject(params)) throw new AnnexfsError('INVALID', 'the params of a request are an object')
  return { id, method, params }
}

/** @throws AnnexfsError INVALID for a line that is no answer. */
export function parseAnswer(line: string): Answer {
  const value = parseObject(line)
  const id = value['id']
  if (id !== null && typeof id !== 'number' && typeof id !== 'string') throw notAnAnswer()
  const error = value['error']
  if (isObject(error)) {
    const { code, message } = error
    if (typeof code !== 'string' || typeof message !== 'string') throw notAnAnswer()
    return { id, error: { code: code as ErrorCode, message } }
  }
  if (id === null) throw notAnAnswer()
  if ('result' in value) return { id, result: value['result'] }
  if ('event' in value) return { id, event: value['event'] }
  throw notAnAnswer()
}

/** What a client is told of an error: code and message, never a stack. */
export function errorAnswer(id: number | string | null, error: unknown): Answer {
  return { id, error: { code: isAnnexfsError(error) ? error.code : 'SYSTEM', message: reasonOf(error) } }
}

function parseObject(line: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new AnnexfsError('INVALID', `a line is not JSON: ${reasonOf(error)}`, { cause: error })
  }
  if (!isObject(value)) throw new AnnexfsError('INVALID', 'a line is not a JSON object')
  return value
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function notAnAnswer(): AnnexfsError {
  return new AnnexfsError('INVALID', 'what came over the control socket is not an answer')
}
