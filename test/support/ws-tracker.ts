import type { IncomingMessage } from 'node:http'
import type { TestContext } from 'node:test'
import { WebSocketServer, type WebSocket } from 'ws'

/** A ws tracker that does to its clients whatever a test wants. */
export interface HostileTracker {
  readonly url: string
  /** What clients have said, as JSON. */
  readonly heard: readonly Readonly<Record<string, unknown>>[]
  connections: number
}

/** `answer` is called for each message of a client, with the path that it asked for. */
export async function startHostileTracker(
  t: Pick<TestContext, 'after'>,
  host: string,
  answer: (message: Readonly<Record<string, unknown>>, socket: WebSocket, path: string) => void,
): Promise<HostileTracker> {
  const server = new WebSocketServer({ host, port: 0 })
  await new Promise((resolve) => server.once('listening', resolve))
  const heard: Readonly<Record<string, unknown>>[] = []
  const sockets = new Set<WebSocket>()
  const tracker = { url: `ws://${host}:${server.address().port}`, heard, connections: 0 }
  server.on('connection', (socket: WebSocket, request: IncomingMessage) => {
    tracker.connections += 1
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as Readonly<Record<string, unknown>>
      heard.push(message)
      answer(message, socket, request.url ?? '')
    })
  })
  t.after(() => {
    for (const socket of sockets) socket.terminate()
    server.close()
  })
  return tracker
}
