import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { AnnexfsError } from '../errors.js'

type Address = ipaddr.IPv4 | ipaddr.IPv6
/** Addresses that begin with the same bits; `port`: on it alone. */
interface Block {
  readonly network: Address
  readonly bits: number
  readonly port: number | undefined
}

/** Which addresses may be connected to. */
export interface AddressPolicy {
  /**
   * Whether `address` may be connected to: an IPv4 or IPv6 address as text, without brackets. Anything else is not allowed.
   * @param port where it is known; what is allowed on one port only is not allowed without.
   */
  allows(address: string, port?: number): boolean
  /** The ports for which it may have another answer. */
  readonly ports?: ReadonlySet<number>
}

/** For URLs that the user gave by hand; never for what a repository, a torrent or a server named. */
export const anyAddress: AddressPolicy = { allows: (address) => isIP(address) !== 0 }

/**
 * Only addresses of the public internet, as git-annex does (annex.security.allowed-ip-addresses): no loopback, private,
 * link-local, shared (CGNAT), multicast, broadcast, benchmarking, documentation or reserved ones, nor those wrapped in
 * an IPv6 form (mapped, compatible, 6to4, NAT64, Teredo).
 * @param options.allow addresses and CIDR blocks that are allowed all the same, also on one port only, as git-annex writes
 * it (`[127.0.0.1]:80`, `[::1]:80`) or `127.0.0.1:80`; `all` allows everything.
 * @throws AnnexfsError USAGE when one of them is neither.
 */
export function addressPolicy(options: { allow: readonly string[] }): AddressPolicy {
  if (options.allow.includes('all')) return anyAddress
  const blocks = options.allow.map(parseBlock)
  return {
    ports: new Set(blocks.flatMap(({ port }) => (port === undefined ? [] : [port]))),
    allows: (text, port) => {
      // Only what node:net takes for an address too: ipaddr.js reads more, and other things into it (1.2.3, 010.0.0.1).
      return isIP(text) !== 0 && ipaddr.isValid(text) && allowed(ipaddr.parse(text), blocks, port)
    },
  }
}

function allowed(address: Address, blocks: readonly Block[], port: number | undefined): boolean {
  if (blocks.some((block) => within(address, block, port))) return true
  if (address instanceof ipaddr.IPv4) return address.range() === 'unicast'
  const inner = embedded(address)
  if (inner.length > 0) return inner.every((one) => allowed(one, blocks, port))
  // 2000::/3 is all that is handed out; what lies outside of it (site-local, unassigned) is not the internet.
  return address.range() === 'unicast' && (address.toByteArray()[0] ?? 0) >> 5 === 1
}

/** The IPv4 addresses that a packet to this IPv6 address may end up at. */
function embedded(address: ipaddr.IPv6): ipaddr.IPv4[] {
  const bytes = address.toByteArray()
  const at = (offset: number): ipaddr.IPv4 => new ipaddr.IPv4(bytes.slice(offset, offset + 4))
  const starts = (...prefix: number[]): boolean => prefix.every((byte, index) => bytes[index] === byte)
  const zeros = (start: number, end: number): boolean => bytes.slice(start, end).every((byte) => byte === 0)
  // RFC 4291 mapped and compatible (which takes :: and ::1 with it), RFC 6145 ::ffff:0:a.b.c.d
  if (zeros(0, 10) && ((bytes[10] === 0xff && bytes[11] === 0xff) || zeros(10, 12))) return [at(12)]
  if (zeros(0, 8) && bytes[8] === 0xff && bytes[9] === 0xff && zeros(10, 12)) return [at(12)]
  // RFC 3056 6to4
  if (starts(0x20, 0x02)) return [at(2)]
  // RFC 4380 Teredo: the server, and the client with its bits inverted
  if (starts(0x20, 0x01, 0, 0)) return [at(4), new ipaddr.IPv4(bytes.slice(12).map((byte) => byte ^ 0xff))]
  // RFC 6052 NAT64, its well-known prefix; RFC 8215, prefixes of one's own, where the place of the address may differ
  if (starts(0, 0x64, 0xff, 0x9b) && zeros(4, 12)) return [at(12)]
  if (starts(0, 0x64, 0xff, 0x9b)) return [new ipaddr.IPv4([0, 0, 0, 0])]
  // RFC 5214 ISATAP
  if ((bytes[8] === 0 || bytes[8] === 2) && bytes[9] === 0 && bytes[10] === 0x5e && bytes[11] === 0xfe) return [at(12)]
  return []
}

function within(address: Address, { network, bits, port: only }: Block, port: number | undefined): boolean {
  if (only !== undefined && only !== port) return false
  return address.kind() === network.kind() && address.match(network, bits)
}

/** Whether {@link addressPolicy} takes `entry`. */
export function isAllowEntry(entry: string): boolean {
  return entry === 'all' || blockOf(entry) !== undefined
}

function parseBlock(text: string): Block {
  const block = blockOf(text)
  if (block !== undefined) return block
  throw new AnnexfsError(
    'USAGE',
    `${JSON.stringify(text)} is not an address or a block of addresses; give one like 10.1.2.3, 192.168.0.0/16, fd00::/8 or ` +
      '[10.1.2.3]:8080',
  )
}

function blockOf(entry: string): Block | undefined {
  const [, bracketed, dotted, onPort] = /^(?:\[([^\]]+)\]|(\d+\.\d+\.\d+\.\d+)):(\d{1,5})$/.exec(entry) ?? []
  const text = bracketed ?? dotted ?? entry
  const port = onPort === undefined ? undefined : Number(onPort)
  if (port !== undefined && (port === 0 || port > 65_535)) return undefined
  // Only the usual written forms: ipaddr.js also reads 0x7f000001 and 127.1, which nobody means to type here.
  const plain = /^(\d+\.\d+\.\d+\.\d+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)(\/\d+)?$/
  if (plain.test(text)) {
    if (ipaddr.isValid(text)) {
      const address = ipaddr.parse(text)
      return { network: address, bits: address.kind() === 'ipv4' ? 32 : 128, port }
    }
    if (ipaddr.isValidCIDR(text)) {
      const [network, bits] = ipaddr.parseCIDR(text)
      return { network, bits, port }
    }
  }
  return undefined
}
