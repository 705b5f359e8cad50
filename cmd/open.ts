import { openEngine, type Engine } from '../lib/engine/engine.js'
import { openLog, type Log } from '../lib/log/log.js'
import { engineSettings, logFormat, logLevel, type Given } from './options.js'
import { tell } from './tell.js'

/** The log of a command: lines on standard error, which stays ours when output is piped. */
export function commandLog(given: Given): Log {
  return openLog(logFormat(given), logLevel(given), tell)
}

/** Opens SOURCEs for a command that reads them once and ends. */
export function openForReading(sources: readonly string[], given: Given): Promise<Engine> {
  return openEngine(sources, { ...engineSettings(given), log: commandLog(given), forbid: () => false })
}
