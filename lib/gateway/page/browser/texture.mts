/*
 * Colours and patterns of origins. Each origin has a slot for as long as the page lives: six colours, and five
 * patterns, so that the first thirty differ in one at least and neighbours differ in both.
 */

const COLOURS = 6
const slots = new Map<string, number>()
const patterns = new Map<string, CanvasPattern | string>()

/** Side of a pattern's tile in CSS pixels. */
const TILE = 6

/** The slot of an origin; -1 for what nobody of those known gave. */
export function slotOf(origin: string | undefined): number {
  if (origin === undefined) return -1
  let slot = slots.get(origin)
  if (slot === undefined) slots.set(origin, (slot = slots.size))
  return slot
}

/** The value of a colour of the style sheet, in the scheme of the moment. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
}

/** What to fill an origin's boxes and areas with. */
export function texture(context: CanvasRenderingContext2D, slot: number): CanvasPattern | string {
  const key = `${slot}@${devicePixelRatio}`
  let made = patterns.get(key)
  if (made === undefined) patterns.set(key, (made = draw(context, slot)))
  return made
}

/** Colours have changed: with the scheme, or the contrast. */
export function forgetTextures(): void {
  patterns.clear()
}

function draw(context: CanvasRenderingContext2D, slot: number): CanvasPattern | string {
  const fill = colour(slot < 0 ? 'unknown' : `origin-${slot % COLOURS}`)
  const kind = slot < 0 ? 0 : slot % 5
  if (kind === 0) return fill
  const scale = devicePixelRatio
  const tile = document.createElement('canvas')
  tile.width = tile.height = Math.round(TILE * scale)
  const ink = tile.getContext('2d')
  if (ink === null) return fill
  const exact = tile.width / TILE
  ink.scale(exact, exact)
  ink.fillStyle = fill
  ink.fillRect(0, 0, TILE, TILE)
  ink.globalAlpha = 0.7
  ink.fillStyle = ink.strokeStyle = colour('surface')
  ink.lineWidth = 1.2
  if (kind === 1) {
    ink.beginPath()
    for (const x of [-TILE, 0, TILE]) {
      ink.moveTo(x - 1, TILE + 1)
      ink.lineTo(x + TILE + 1, -1)
    }
    ink.stroke()
  } else if (kind === 2) ink.fillRect(0, 2, TILE, 1.3)
  else if (kind === 3) ink.fillRect(2, 0, 1.3, TILE)
  else ink.fillRect(2, 2, 2, 2)
  const pattern = context.createPattern(tile, 'repeat')
  pattern?.setTransform(new DOMMatrix().scale(1 / exact))
  return pattern ?? fill
}

/** A small box with an origin's texture, to stand beside its name. */
export function swatch(origin: string | undefined): HTMLCanvasElement {
  const canvas = document.createElement('canvas')
  canvas.className = 'swatch'
  canvas.setAttribute('aria-hidden', 'true')
  const paint = (): void => {
    const context = sized(canvas, 14, 14)
    if (context === undefined) return
    context.fillStyle = texture(context, slotOf(origin))
    context.fillRect(0, 0, 14, 14)
  }
  onTheme(canvas, paint)
  return canvas
}

/** A context whose unit is the CSS pixel, on a cleared canvas of that size. */
export function sized(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | undefined {
  const scale = devicePixelRatio
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)]
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w
    canvas.height = h
    canvas.style.width = `${width}px`
    canvas.style.height = `${height}px`
  }
  const context = canvas.getContext('2d') ?? undefined
  context?.setTransform(scale, 0, 0, scale, 0, 0)
  context?.clearRect(0, 0, width, height)
  return context
}

const painters = new Map<HTMLCanvasElement, () => void>()

/** Paints now, and again when colours change, until the canvas has left the page. */
export function onTheme(canvas: HTMLCanvasElement, paint: () => void): void {
  painters.set(canvas, paint)
  paint()
}

export function forgetPainter(node: Element): void {
  for (const canvas of node.querySelectorAll('canvas')) painters.delete(canvas)
}

for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)', '(prefers-contrast: more)']) {
  matchMedia(query).addEventListener('change', () => {
    forgetTextures()
    for (const paint of painters.values()) paint()
  })
}
