import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

export interface SlowProxyOptions {
  /** Where it leads to. */
  readonly host?: string
  readonly port: number
  /** Where it listens; default 127.0.0.1, any port. */
  readonly listen?: string
  /** Bytes a second towards the client, of all connections together; default: no limit. */
  readonly rate?: number
  /** Milliseconds by which everything towards the client comes later; default 0. */
  readonly latency?: number
}

/** A line of limited rate and given latency to a TCP server. The kernels of test machines often have no netem. */
export interface SlowProxy {
  readonly port: number
  /** May be changed at any time. */
  rate: number
  latency: number
  /** Bytes given to clients so far. */
  readonly sent: number
  readonly connections: number
  /** Cuts all connections and refuses new ones. */
  die(): void
  /** Accepts again after {@link die}, on the same port. */
  revive(): Promise<void>
  /** Lets nothing pass any more, in either direction, without closing anything; true again lets it pass. */
  passing: boolean
  close(): Promise<void>
}

const STEP = 4
/** What the line holds beyond what its rate and latency need. */
const SLACK = 64 * 1024
/** Tokens that were not used are kept for so long. */
const BURST = 20

interface Held {
  readonly bytes: Buffer
  readonly due: number
}

class Line {
  readonly client: Socket
  readonly server: Socket
  readonly held: Held[] = []
  size = 0
  ended = false

  constructor(client: Socket, server: Socket) {
    this.client = client
    this.server = server
  }
}

export async function startSlowProxy(options: SlowProxyOptions): Promise<SlowProxy> {
  const proxy = new Proxy(options)
  await proxy.listen(0)
  return proxy
}

class Proxy implements SlowProxy {
  rate: number
  latency: number
  sent = 0
  passing = true
  port = 0
  readonly #options: SlowProxyOptions
  readonly #lines = new Set<Line>()
  #server: Server | undefined
  #timer: NodeJS.Timeout | undefined
  #tokens = 0
  #last = performance.now()

  constructor(options: SlowProxyOptions) {
    this.#options = options
    this.rate = options.rate ?? Infinity
    this.latency = options.latency ?? 0
  }

  get connections(): number {
    return this.#lines.size
  }

  async listen(port: number): Promise<void> {
    const server = createServer({ noDelay: true }, (client) => this.#accept(client))
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, this.#options.listen ?? '127.0.0.1', resolve)
    })
    this.port = (server.address() as AddressInfo).port
    this.#timer = setInterval(() => this.#step(), STEP)
  }

  die(): void {
    clearInterval(this.#timer)
    this.#server?.close()
    this.#server = undefined
    for (const line of this.#lines) {
      line.client.resetAndDestroy()
      line.server.destroy()
    }
    this.#lines.clear()
  }

  async revive(): Promise<void> {
    if (this.#server === undefined) await this.listen(this.port)
  }

  async close(): Promise<void> {
    const server = this.#server
    this.die()
    if (server?.listening === true) await new Promise((resolve) => server.close(resolve))
  }

  #accept(client: Socket): void {
    const server = connect({ host: this.#options.host ?? '127.0.0.1', port: this.#options.port, noDelay: true })
    const line = new Line(client, server)
    this.#lines.add(line)
    const drop = (): void => {
      this.#lines.delete(line)
      client.destroy()
      server.destroy()
    }
    // Either side may hang up at any time: that is what lines do.
    client.on('error', drop).on('close', drop)
    server.on('error', drop)
    client.on('data', (bytes: Buffer) => {
      if (this.passing) server.write(bytes)
    })
    client.on('end', () => server.end())
    server.on('data', (bytes: Buffer) => {
      line.held.push({ bytes, due: performance.now() + this.latency })
      line.size += bytes.byteLength
      if (line.size >= this.#room()) server.pause()
      if (this.rate === Infinity && this.latency === 0) this.#give(line, performance.now())
    })
    server.on('end', () => {
      line.ended = true
      if (line.held.length === 0) client.end()
    })
  }

  #room(): number {
    const rate = Math.min(this.rate, 1e9)
    return SLACK + (rate * this.latency) / 1000
  }

  #step(): void {
    const now = performance.now()
    const most = (this.rate * BURST) / 1000
    this.#tokens = Math.min(most, this.#tokens + (this.rate * (now - this.#last)) / 1000)
    this.#last = now
    if (!this.passing) return
    const lines = [...this.#lines]
    // Each gets an equal share first, then whoever still wants takes the rest.
    for (let round = 0; round < 2; round++) {
      const share = round === 0 ? this.#tokens / Math.max(1, lines.length) : Infinity
      for (const line of lines) this.#give(line, now, share)
    }
    // The first one goes last the next time.
    const [first] = lines
    if (first !== undefined && this.#lines.delete(first)) this.#lines.add(first)
  }

  #give(line: Line, now: number, share = Infinity): void {
    if (!this.passing) return
    let left = this.rate === Infinity ? Infinity : Math.floor(Math.min(share, this.#tokens))
    while (left > 0 && !line.client.writableNeedDrain) {
      const [head] = line.held
      if (head === undefined || head.due > now) break
      const bytes = head.bytes.subarray(0, Math.min(left, head.bytes.byteLength))
      if (bytes.byteLength === head.bytes.byteLength) line.held.shift()
      else line.held[0] = { bytes: head.bytes.subarray(bytes.byteLength), due: head.due }
      line.size -= bytes.byteLength
      left -= bytes.byteLength
      if (this.rate !== Infinity) this.#tokens -= bytes.byteLength
      this.sent += bytes.byteLength
      line.client.write(bytes)
    }
    if (line.size < this.#room() && line.server.isPaused()) line.server.resume()
    if (line.ended && line.held.length === 0) line.client.end()
  }
}
