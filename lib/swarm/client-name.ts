import type { Wire } from 'bittorrent-protocol'
import { printable } from '../log/log.js'

const LONGEST_NAME = 60

/** What program a peer says it is: BEP 10 `v`, or the start of its peer id (BEP 20). Printable. */
export function clientName(wire: Wire): string {
  const version = wire.peerExtendedHandshake['v']
  const said = version instanceof Uint8Array ? Buffer.from(version).toString('utf8') : ''
  if (said !== '') return printable(said.slice(0, LONGEST_NAME))
  const id = Buffer.from(wire.peerId ?? '', 'hex').toString('latin1')
  return printable(id.slice(0, 8))
}
