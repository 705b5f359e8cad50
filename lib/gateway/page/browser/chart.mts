import type { OriginStatus } from '../../../status/snapshot.js'
import { byId, attribute } from './dom.mjs'
import { colour, onTheme, sized, slotOf, texture } from './texture.mjs'
import { duration, rate } from './words.mjs'

/** In CSS pixels: the height of the chart, and of the line of words under it. */
const HEIGHT = 132
const FOOT = 18
/** In seconds. Young mounts have a short past, which would be lost in a wide chart. */
const SHORTEST = 60
const LONGEST = 600

/** The next value of 1, 2, 3, 5, 10, 15 … KiB/s, MiB/s … : a scale that seldom moves. */
export function scaleFor(most: number): number {
  let unit = 1024
  while (most > unit * 500) unit *= 1024
  for (const step of [1, 2, 3, 5, 10, 15, 20, 30, 50, 100, 150, 200, 300, 500])
    if (step * unit >= most) return step * unit
  return 1024 * unit
}

/**
 * What came from whom over the last minutes, stacked; the table under it has the same in figures. `age` is for how many
 * milliseconds there has been anything to tell.
 */
export function throughputChart(): (origins: readonly OriginStatus[], age: number) => void {
  const canvas = byId('chart') as HTMLCanvasElement
  const frame = canvas.parentElement ?? canvas
  let origins: readonly OriginStatus[] = []
  let past = 0
  const paint = (): void => {
    const width = frame.clientWidth
    const context = width > 0 ? sized(canvas, width, HEIGHT + FOOT) : undefined
    if (context !== undefined) draw(context, origins, width, past)
  }
  onTheme(canvas, paint)
  new ResizeObserver(paint).observe(frame)
  return (next, age) => {
    origins = next
    past = age / 1000
    paint()
    const total = next.reduce((sum, origin) => sum + origin.rate, 0)
    attribute(canvas, 'aria-label', `Throughput, now ${rate(total)} in all. The table after it has the figures.`)
  }
}

function draw(context: CanvasRenderingContext2D, origins: readonly OriginStatus[], width: number, past: number): void {
  const told = Math.max(0, ...origins.map((origin) => origin.history.length))
  const seconds = Math.min(LONGEST, Math.max(SHORTEST, Math.min(told, Math.ceil(past))))
  const sums = Array.from({ length: seconds }, () => 0)
  const values = origins.map(({ history }) => sums.map((_, index) => history[history.length - seconds + index] ?? 0))
  for (const one of values) one.forEach((value, index) => (sums[index] = (sums[index] ?? 0) + value))
  const scale = scaleFor(Math.max(...sums, 1024 * 100))
  const y = (value: number): number => HEIGHT - (value / scale) * (HEIGHT - 18)
  const x = (index: number): number => (index / (seconds - 1)) * width

  context.font = getComputedStyle(context.canvas).font
  context.lineWidth = 1
  const base = Array.from({ length: seconds }, () => 0)
  origins.forEach((origin, number) => {
    const own = values[number] ?? []
    if (!own.some((value) => value > 0)) return
    context.beginPath()
    own.forEach((value, index) => context.lineTo(x(index), y((base[index] ?? 0) + value)))
    for (let index = seconds - 1; index >= 0; index--) context.lineTo(x(index), y(base[index] ?? 0))
    context.closePath()
    context.fillStyle = texture(context, slotOf(origin.name))
    context.fill()
    context.strokeStyle = colour('surface')
    context.stroke()
    own.forEach((value, index) => (base[index] = (base[index] ?? 0) + value))
  })

  context.fillStyle = colour('muted')
  context.strokeStyle = colour('line')
  for (const share of [0, 0.5, 1]) {
    const line = Math.round(y(scale * share)) + (share === 0 ? -0.5 : 0.5)
    context.beginPath()
    context.moveTo(0, line)
    context.lineTo(width, line)
    context.stroke()
    if (share > 0) label(context, rate(scale * share).replace(/\.0+ /, ' '), 0, line - 5, 'left')
  }
  label(context, `${duration(seconds * 1000)} ago`, 0, HEIGHT + FOOT - 4, 'left')
  label(context, 'now', width, HEIGHT + FOOT - 4, 'right')
}

/** Words on a ground of their own: areas may lie behind them. */
function label(context: CanvasRenderingContext2D, text: string, x: number, y: number, align: 'left' | 'right'): void {
  context.textAlign = align
  const width = context.measureText(text).width + 6
  context.fillStyle = colour('surface')
  context.fillRect(align === 'left' ? x : x - width, y - 11, width, 14)
  context.fillStyle = colour('muted')
  context.fillText(text, x, y)
}
