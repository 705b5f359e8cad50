/** The two parts of undici 7 that we use. Its index loads all of it (fetch, WebSocket, …): 50 ms and 9 MB more. */
declare module 'undici/lib/dispatcher/agent.js' {
  import type { Agent } from 'undici'
  const Constructor: typeof Agent
  export default Constructor
}
declare module 'undici/lib/core/connect.js' {
  import type { buildConnector } from 'undici'
  const build: typeof buildConnector
  export default build
}
