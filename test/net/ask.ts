/** Asks for a URL at 127.0.0.1, with the certificates that its environment names: `node ask.js URL`. */
import { reasonOf } from '../../lib/errors.js'
import { textLog } from '../../lib/log/log.js'
import { anyAddress } from '../../lib/net/address-policy.js'
import { HttpClient } from '../../lib/net/http-client.js'

const [, , url = ''] = process.argv
const log = textLog('warn', (line) => process.stdout.write(line))
const client = new HttpClient({ policy: anyAddress, log, resolve: () => Promise.resolve(['127.0.0.1']) })
for (let time = 0; time < 2; time++) {
  try {
    const answer = await client.get(url, { signal: AbortSignal.timeout(60_000) })
    answer.cancel()
    process.stdout.write(`${answer.status}\n`)
  } catch (error) {
    process.stdout.write(`${reasonOf(error)}\n`)
  }
}
await client.close()
