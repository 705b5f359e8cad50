import type { ErrorCode } from '../errors.js'
import type { Bytes } from '../space/space.js'

/** What the process that reads far disks is asked; all but `close` are answered under their id. */
export type DiskRequest =
  | { readonly id: number; readonly what: 'realpath'; readonly path: Uint8Array }
  | { readonly id: number; readonly what: 'stamp'; readonly path: Uint8Array }
  | { readonly id: number; readonly what: 'open'; readonly path: Uint8Array; readonly size: Bytes | undefined }
  | {
      readonly id: number
      readonly what: 'read'
      readonly file: number
      readonly offset: Bytes
      readonly length: Bytes
    }
  | { readonly id: number; readonly what: 'close'; readonly file: number }

export interface DiskFailure {
  readonly message: string
  /** Of an error of ours. */
  readonly code?: ErrorCode
  /** Of a system error. */
  readonly system?: string
}

export interface DiskAnswer {
  readonly id: number
  readonly value?: unknown
  readonly failure?: DiskFailure
}

export interface OpenedFile {
  readonly file: number
  readonly size: Bytes
  readonly settled: boolean
  readonly version: string
}
