import type { ByteRange, Bytes } from '../space/space.js'

/*
 * Where a player will look next in a media file, from its first bytes. An MP4 (ISO/IEC 14496-12) whose index (`moov`)
 * comes after the media data, a Matroska or WebM file (RFC 9559) whose SeekHead names Cues, an AVI with its index at the
 * end: players jump there when they start, or when their user does. Everything here is hostile input: bounded, no loops
 * that do not advance.
 */

/** What is needed of the start of a file. */
export const HEAD: Bytes = 4096
/** The index of a film of three hours has about this much. */
const MOST_INDEX: Bytes = 8 * 1024 * 1024
/** An index never takes more of a file than this. */
const MOST_SHARE = 0.05
const LEAST_INDEX: Bytes = 256 * 1024
const MOST_BOXES = 16
const MOST_ELEMENTS = 64

/** The ranges of the file that hold its index and are not read from its start on; empty when it is no such file. */
export function indexRanges(head: Uint8Array, size: Bytes): readonly ByteRange[] {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  const start = mp4Index(view, size) ?? matroskaCues(view) ?? aviIndex(view)
  if (start === undefined || !(start > head.byteLength && start < size)) return []
  const most = Math.min(MOST_INDEX, Math.max(LEAST_INDEX, Math.floor(size * MOST_SHARE)))
  return [{ start, end: Math.min(size, start + most) }]
}

/** Whether the bytes begin a file whose index may lie elsewhere. */
export function isMedia(head: Uint8Array): boolean {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  return isMp4(view) || isMatroska(view) || isAvi(view)
}

function isMp4(view: DataView): boolean {
  return view.byteLength >= 16 && view.getUint32(4) === FTYP
}

const FTYP = 0x66_74_79_70
const MDAT = 0x6d_64_61_74
const MOOV = 0x6d_6f_6f_76

/** Where the boxes after the media data begin; undefined when the index comes before it. */
function mp4Index(view: DataView, size: Bytes): Bytes | undefined {
  if (!isMp4(view)) return undefined
  let at = 0
  for (let count = 0; count < MOST_BOXES && at + 16 <= view.byteLength; count++) {
    const type = view.getUint32(at + 4)
    if (type === MOOV) return undefined
    const small = view.getUint32(at)
    const length = small === 1 ? Number(view.getBigUint64(at + 8)) : small === 0 ? size - at : small
    if (length < 8) return undefined
    at += length
    if (type === MDAT) return at
  }
  return undefined
}

function isMatroska(view: DataView): boolean {
  return view.byteLength >= 16 && view.getUint32(0) === EBML
}

const EBML = 0x1a45dfa3
const SEGMENT = 0x18538067
const SEEK_HEAD = 0x114d9b74
const SEEK = 0x4dbb
const SEEK_ID = 0x53ab
const SEEK_POSITION = 0x53ac
const CUES = 0x1c53bb6b

interface Element {
  readonly id: number
  readonly start: Bytes
  readonly end: Bytes
}

function matroskaCues(view: DataView): Bytes | undefined {
  if (!isMatroska(view)) return undefined
  const header = elementAt(view, 0)
  const segment = header === undefined ? undefined : elementAt(view, header.end)
  if (segment?.id !== SEGMENT) return undefined
  for (const part of elements(view, segment.start, view.byteLength)) {
    if (part.id !== SEEK_HEAD) continue
    for (const seek of elements(view, part.start, part.end)) {
      if (seek.id !== SEEK) continue
      const inner = [...elements(view, seek.start, seek.end)]
      const id = inner.find((one) => one.id === SEEK_ID)
      const position = inner.find((one) => one.id === SEEK_POSITION)
      if (id === undefined || position === undefined || numberIn(view, id) !== CUES) continue
      const offset = numberIn(view, position)
      return offset === undefined ? undefined : segment.start + offset
    }
  }
  return undefined
}

function* elements(view: DataView, start: Bytes, end: Bytes): Iterable<Element> {
  let at = start
  for (let count = 0; count < MOST_ELEMENTS && at < Math.min(end, view.byteLength); count++) {
    const element = elementAt(view, at)
    if (element === undefined || element.end <= at) return
    yield element
    at = element.end
  }
}

/** An element's id and data by EBML's variable-length numbers (RFC 8794). An unknown length reaches to the end. */
function elementAt(view: DataView, at: Bytes): Element | undefined {
  const id = variable(view, at, 4, true)
  const length = id === undefined ? undefined : variable(view, at + id.width, 8, false)
  if (id === undefined || length === undefined) return undefined
  const start = at + id.width + length.width
  const isUnknown = length.value === 2 ** (7 * length.width) - 1
  return { id: id.value, start, end: start + (isUnknown ? MOST_LENGTH : length.value) }
}

function variable(
  view: DataView,
  at: Bytes,
  widest: number,
  keepsMarker: boolean,
): { readonly value: number; readonly width: number } | undefined {
  if (at >= view.byteLength) return undefined
  const first = view.getUint8(at)
  const width = Math.clz32(first) - 23
  if (width > widest || at + width > view.byteLength) return undefined
  let value = keepsMarker ? first : first & (0xff >> width)
  for (let i = 1; i < width; i++) value = value * 256 + view.getUint8(at + i)
  return { value: Math.min(value, MOST_LENGTH), width }
}

/** Lengths beyond it, and the unknown one, reach to the end of any file. */
const MOST_LENGTH = 2 ** 52

function numberIn(view: DataView, { start, end }: Element): number | undefined {
  if (end - start > 8 || end > view.byteLength) return undefined
  let value = 0
  for (let at = start; at < end; at++) value = value * 256 + view.getUint8(at)
  return Number.isSafeInteger(value) ? value : undefined
}

function isAvi(view: DataView): boolean {
  return view.byteLength >= 16 && view.getUint32(0) === RIFF && view.getUint32(8) === AVI
}

const RIFF = 0x52_49_46_46
const AVI = 0x41_56_49_20
const LIST = 0x4c_49_53_54
const MOVI = 0x6d_6f_76_69

/** The index (`idx1`) follows the list of the media data (`movi`). */
function aviIndex(view: DataView): Bytes | undefined {
  if (!isAvi(view)) return undefined
  let at = 12
  for (let count = 0; count < MOST_BOXES && at + 12 <= view.byteLength; count++) {
    const length = view.getUint32(at + 4, true)
    const isMovi = view.getUint32(at) === LIST && view.getUint32(at + 8) === MOVI
    at += 8 + length + (length % 2)
    if (isMovi) return at
  }
  return undefined
}
