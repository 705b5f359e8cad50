import ipaddr from 'ipaddr.js'

/** `host:port` or `[host]:port`, or undefined when it is neither. */
export function splitAddress(text: string): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text)
  if (match === null) return undefined
  const host = match[1] ?? match[2]
  const port = Number(match[3])
  return host === undefined || port < 1 || port > 65_534 ? undefined : { host, port }
}

export function joinAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/**
 * May a peer that a stranger named be connected to without asking the policy? Yes on the internet and on private
 * networks; not on this machine, the link (cloud metadata lives there), or what is no host at all.
 */
export function ordinaryPeer(host: string): boolean {
  if (!ipaddr.isValid(host)) return false
  const address = ipaddr.process(host)
  const range = address.range()
  return range === 'unicast' || range === 'private' || range === 'uniqueLocal' || range === 'carrierGradeNat'
}
