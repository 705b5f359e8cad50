/* Runs in the browser, before the page: what tests look at there. */

function numbersIn(text: string): number[] {
  return (text.match(/[\d.]+/g) ?? []).map(Number)
}

/** WCAG 2.1, relative luminance. */
function luminance(colour: readonly number[]): number {
  const part = (index: number): number => {
    const one = (colour[index] ?? 0) / 255
    return one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4
  }
  return 0.2126 * part(0) + 0.7152 * part(1) + 0.0722 * part(2)
}

function groundOf(node: Element | null): number[] {
  for (let one = node; one !== null; one = one.parentElement) {
    const colour = numbersIn(getComputedStyle(one).backgroundColor)
    if (colour.length === 3 || (colour[3] ?? 0) > 0) return colour
  }
  return [255, 255, 255]
}

function all(selector: string): HTMLElement[] {
  return Array.from(document.querySelectorAll<HTMLElement>(selector))
}

const looks: import('./seen.js').Seen = {
  lowContrast() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    const low: string[] = []
    let checked = 0
    while (walker.nextNode() !== null) {
      const text = walker.currentNode
      const parent = text.parentElement
      if (parent === null || (text.textContent ?? '').trim() === '' || !parent.checkVisibility()) continue
      checked++
      const { color, fontSize, fontWeight } = getComputedStyle(parent)
      const [one, other] = [luminance(numbersIn(color)), luminance(groundOf(parent))]
      const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)
      const large = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && Number(fontWeight) >= 700)
      if (ratio < (large ? 3 : 4.5)) low.push(`${ratio.toFixed(2)}: ${text.textContent}`)
    }
    return { checked, low }
  },

  focus() {
    const { activeElement } = document
    if (activeElement === null || activeElement === document.body) return undefined
    const { outlineStyle, outlineWidth } = getComputedStyle(activeElement)
    const outline = `${outlineStyle} ${parseFloat(outlineWidth)}`
    return { id: activeElement.id, text: (activeElement.textContent ?? '').trim(), outline }
  },

  unfocus() {
    const start = document.createElement('i')
    start.tabIndex = -1
    document.body.prepend(start)
    start.focus()
    start.remove()
  },

  cut() {
    return all('b, h1, h2, h3, td, th')
      .filter((node) => node.clientWidth > 1 && node.scrollWidth > node.clientWidth + 1)
      .map((node) => node.textContent ?? '')
  },

  structure() {
    const ids = all('[id]').map((node) => node.id)
    const named = (node: Element, name: string): string => node.getAttribute(name) ?? ''
    return {
      lang: document.documentElement.lang,
      title: document.title,
      twice: ids.filter((id, index) => ids.indexOf(id) !== index),
      landmarks: ['header', 'nav', 'main', 'footer'].map((tag) => all(tag).length),
      headings: all('h1, h2, h3').map((node) => Number(node.tagName.slice(1))),
      dangling: all('[aria-labelledby]').filter((node) => !ids.includes(named(node, 'aria-labelledby'))).length,
      nameless: all('canvas:not([aria-hidden=true])').filter((node) => named(node, 'aria-label') === '').length,
      live: all('[aria-live], [role=status], [role=alert]').map((node) => node.id),
    }
  },

  printed(selector) {
    return Array.from(document.querySelectorAll<HTMLCanvasElement>(selector)).map((canvas) => {
      const data = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? []
      let ink = ''
      for (let at = 0; at < data.length; at += 4) {
        const light = (data[at] ?? 0) + (data[at + 1] ?? 0) + (data[at + 2] ?? 0)
        ink += (data[at + 3] ?? 0) > 128 && light < 3 * 170 ? '#' : ' '
      }
      return ink
    })
  },

  hide(hidden) {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
    document.dispatchEvent(new Event('visibilitychange'))
  },
}

Object.assign(globalThis, { seen: looks })
