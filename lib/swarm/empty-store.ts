/**
 * The chunk store that webtorrent must have and that is never used: pieces go through the shared cache, not through
 * webtorrent. A put succeeds, because webtorrent destroys a torrent whose store fails.
 */
export class EmptyStore {
  constructor(readonly chunkLength: number) {}

  put(_index: number, _bytes: Uint8Array, done: (error: null) => void = () => undefined): void {
    queueMicrotask(() => done(null))
  }

  get(_index: number, _options: unknown, done: (error: Error) => void): void {
    queueMicrotask(() => done(new Error('pieces are kept in the shared cache')))
  }

  close(done: (error: null) => void = () => undefined): void {
    queueMicrotask(() => done(null))
  }

  destroy(done: (error: null) => void = () => undefined): void {
    queueMicrotask(() => done(null))
  }
}
