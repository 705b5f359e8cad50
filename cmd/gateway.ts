import type { Volume } from '../lib/engine/volume.js'
import { gateway, type Gateway } from '../lib/gateway/gateway.js'
import { pageHandler } from '../lib/gateway/page/page.js'
import type { Log } from '../lib/log/log.js'
import type { Milliseconds } from '../lib/space/space.js'
import { metricsHandler } from '../lib/status/metrics.js'
import type { Station } from '../lib/status/snapshot.js'
import type { GatewaySettings } from './gateway-options.js'

export interface ServeOptions {
  readonly volume: Volume
  readonly station: Station
  readonly settings: GatewaySettings
  readonly timeout: Milliseconds
  readonly log: Log
}

/** Serves a volume over HTTP, with its page and metrics. @throws AnnexfsError as {@link gateway}. */
export async function openGateway({ volume, station, settings, timeout, log }: ServeOptions): Promise<Gateway> {
  const over = new AbortController()
  const handlers = [pageHandler(station, { signal: over.signal }), metricsHandler(station)]
  const served = await gateway({ volume, readTimeout: timeout, log, handlers, ...settings })
  return {
    url: served.url,
    close: async () => {
      over.abort()
      await served.close()
    },
  }
}
