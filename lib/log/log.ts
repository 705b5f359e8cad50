import { withoutSecrets } from './secrets.js'

/** What every layer may log to. `fields` are short facts; never secrets. */
export interface Log {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
}

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'
export type LogFormat = 'text' | 'json'

export const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'silent']
export const LOG_FORMATS: readonly LogFormat[] = ['text', 'json']

/** Where finished lines, each with its newline, go. */
type Write = (line: string) => void
type Format = (level: LogLevel, message: string, fields: LogFields) => string

export function openLog(format: LogFormat, level: LogLevel, write: Write): Log {
  return format === 'json' ? jsonLog(level, write) : textLog(level, write)
}

/**
 * A log of one line an event, for a terminal or a journal: `annexfs: warn: message (field=value)`.
 * Control characters in messages and values (names come from hostile input) are escaped, passwords and the like in URLs
 * left out.
 */
export function textLog(level: LogLevel, write: Write): Log {
  return formatted(level, write, (own, message, fields) => {
    const facts = Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}=${shown(String(value))}`)
      .join(' ')
    const prefix = own === 'info' ? '' : `${own}: `
    return `annexfs: ${prefix}${shown(message)}${facts === '' ? '' : ` (${facts})`}\n`
  })
}

/**
 * A log of one JSON object a line, for programs: `time` (ISO 8601, UTC), `level`, `msg`, and `fields`, an object, where
 * there are any. All of it is printable; passwords and the like in URLs are left out as in {@link textLog}.
 */
export function jsonLog(level: LogLevel, write: Write, now: () => number = Date.now): Log {
  return formatted(level, write, (own, message, fields) => {
    const facts = Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, typeof value === 'string' ? withoutSecrets(value) : value] as const)
    const line = {
      time: new Date(now()).toISOString(),
      level: own,
      msg: withoutSecrets(message),
      ...(facts.length > 0 && { fields: Object.fromEntries(facts) }),
    }
    return `${printableJson(line)}\n`
  })
}

function formatted(level: LogLevel, write: Write, format: Format): Log {
  const least = LOG_LEVELS.indexOf(level)
  const at =
    (own: LogLevel) =>
    (message: string, fields: LogFields = {}): void => {
      if (LOG_LEVELS.indexOf(own) >= least) write(format(own, message, fields))
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** A log that keeps nothing. */
export const silentLog: Log = textLog('silent', () => undefined)

/** `text` with control characters (and so terminal escapes and newlines) shown as `\xNN`. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- these are just the characters that must not reach a terminal
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`
  })
}

function shown(text: string): string {
  return printable(withoutSecrets(text))
}

/** `value` as JSON that may be shown: of the control characters JSON itself escapes only those below U+0020. */
export function printableJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(/[\u007f-\u009f\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

/** A log line at most once per `interval` for the same text, so that one bad remote cannot fill a disk with log. */
export function rateLimited(log: Log, interval: number): Log {
  const last = new Map<string, number>()
  const gate =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (message: string, fields?: LogFields): void => {
      const now = Date.now()
      const previous = last.get(message)
      if (previous !== undefined && now - previous < interval && now >= previous) return
      if (last.size >= 1000) last.clear()
      last.set(message, now)
      log[level](message, fields)
    }
  return { debug: gate('debug'), info: gate('info'), warn: gate('warn'), error: gate('error') }
}
