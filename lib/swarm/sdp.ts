import { isIP } from 'node:net'
import { AnnexfsError } from '../errors.js'
import type { Bytes } from '../space/space.js'

/** An offer of a browser with all its candidates takes 1 to 4 KiB. */
const LONGEST_DESCRIPTION: Bytes = 16 * 1024
const MOST_CANDIDATES = 16
/** A peer that takes less at once would make us send crumbs. */
const SHORTEST_MESSAGE: Bytes = 16 * 1024
const LONGEST_MESSAGE: Bytes = 256 * 1024
const USUAL_SCTP_PORT = 5000

const UFRAG = /^a=ice-ufrag:([A-Za-z0-9+/]{4,256})$/
const PASSWORD = /^a=ice-pwd:([A-Za-z0-9+/]{22,256})$/
const FINGERPRINT = /^a=fingerprint:(sha-(?:1|224|256|384|512)) ([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){19,63})$/i
const SETUP = /^a=setup:(actpass|active|passive)$/
const MID = /^a=mid:([A-Za-z0-9_-]{1,32})$/
const SCTP_PORT = /^a=sctp-port:(\d{1,5})$/
const MESSAGE_SIZE = /^a=max-message-size:(\d{1,10})$/
/** RFC 8839, section 5.1: foundation, component, transport, priority, address, port, type. */
const CANDIDATE =
  /^a=candidate:[A-Za-z0-9+/]{1,32} 1 udp (\d{1,10}) ([0-9A-Fa-f.:]{2,45}) (\d{1,5}) typ (host|srflx|prflx|relay)(?: |$)/i

/** May this address be connected to? */
export type AllowsPeer = (address: string) => Promise<boolean>

/**
 * What a stranger says of a WebRTC peer (SDP, RFC 8829 and 8841), made anew from the few values that a data channel
 * needs, so that nothing else of it reaches the native library. Candidates stay when they are UDP ports at addresses
 * that `allows` takes; names (also `.local` ones) would be looked up by that library and are left out. None may be left:
 * the peer can still reach us.
 * @throws AnnexfsError INVALID when it describes no data channel.
 */
export async function safeDescription(sdp: unknown, allows: AllowsPeer): Promise<string> {
  if (typeof sdp !== 'string' || sdp.length > LONGEST_DESCRIPTION) {
    throw new AnnexfsError('INVALID', `a description of a peer is not a text of at most ${LONGEST_DESCRIPTION} bytes`)
  }
  const lines = sdp.split(/\r?\n/)
  const media = lines.filter((line) => line.startsWith('m='))
  if (media.length !== 1 || media[0]?.startsWith('m=application ') !== true) {
    throw new AnnexfsError('INVALID', 'a description of a peer is not that of a data channel')
  }
  const first = (pattern: RegExp): RegExpExecArray | undefined => {
    for (const line of lines) {
      const match = pattern.exec(line)
      if (match !== null) return match
    }
    return undefined
  }
  const needed = (pattern: RegExp, what: string): RegExpExecArray => {
    const match = first(pattern)
    if (match === undefined) throw new AnnexfsError('INVALID', `a description of a peer has no ${what}`)
    return match
  }
  const fingerprint = needed(FINGERPRINT, 'fingerprint')
  const messageSize = Number(first(MESSAGE_SIZE)?.[1] ?? LONGEST_MESSAGE)
  if (messageSize !== 0 && messageSize < SHORTEST_MESSAGE) {
    throw new AnnexfsError('INVALID', `a peer takes only ${messageSize} bytes at once`)
  }
  return [
    'v=0',
    'o=- 1 1 IN IP4 0.0.0.0',
    's=-',
    't=0 0',
    'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
    'c=IN IP4 0.0.0.0',
    `a=mid:${first(MID)?.[1] ?? '0'}`,
    'a=sendrecv',
    `a=sctp-port:${portOf(first(SCTP_PORT)?.[1]) ?? USUAL_SCTP_PORT}`,
    `a=max-message-size:${messageSize === 0 ? LONGEST_MESSAGE : Math.min(LONGEST_MESSAGE, messageSize)}`,
    `a=setup:${needed(SETUP, 'DTLS role')[1]}`,
    `a=ice-ufrag:${needed(UFRAG, 'ICE user')[1]}`,
    `a=ice-pwd:${needed(PASSWORD, 'ICE password')[1]}`,
    `a=fingerprint:${fingerprint[1]?.toLowerCase()} ${fingerprint[2]?.toUpperCase()}`,
    ...(await safeCandidates(lines, allows)),
    '',
  ].join('\r\n')
}

async function safeCandidates(lines: readonly string[], allows: AllowsPeer): Promise<string[]> {
  const seen = new Map<string, RegExpExecArray>()
  for (const line of lines) {
    const match = CANDIDATE.exec(line)
    if (match === null || isIP(match[2] ?? '') === 0 || portOf(match[3]) === undefined) continue
    if (Number(match[1]) > 0x7fffffff) continue
    if (seen.size < MOST_CANDIDATES) seen.set(`${match[2]} ${match[3]}`, match)
  }
  const verdicts = await Promise.all(
    [...seen.values()].map(async (match) => ({ match, allowed: await allows(match[2] ?? '') })),
  )
  return verdicts
    .filter(({ allowed }) => allowed)
    .map(
      ({ match }, index) =>
        `a=candidate:${index + 1} 1 UDP ${match[1]} ${match[2]} ${match[3]} typ ${match[4]?.toLowerCase()}`,
    )
}

function portOf(text: string | undefined): number | undefined {
  const port = Number(text)
  return port >= 1 && port <= 65_535 ? port : undefined
}
