/** An element with text or elements in it. Nothing here, or anywhere in the page, takes markup. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>> = {},
  ...inside: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  made.append(...inside)
  return made
}

/** The element of the page with this id. */
export function byId(id: string): HTMLElement {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`the page has no #${id}`)
  return found
}

/** Sets a text only where it differs: a selection stays, and nothing is read aloud again. */
export function say(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text
}

export function attribute(node: Element, name: string, value: string): void {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value)
}

/** What is shown for one item of a list, and how it takes the item's next state. */
export interface View<T> {
  readonly node: HTMLElement
  update(item: T): void
  close?(): void
}

/**
 * Keeps the children of `parent` in step with items: each keeps its element as long as its key is there, so focus,
 * selection and opened details survive. Items come in the order that they are shown in.
 */
export function list<T>(
  parent: Element,
  keyOf: (item: T) => string,
  make: (item: T) => View<T>,
): (items: readonly T[]) => void {
  const views = new Map<string, View<T>>()
  return (items) => {
    const keys = new Set(items.map(keyOf))
    for (const [key, view] of views) {
      if (keys.has(key)) continue
      view.node.remove()
      view.close?.()
      views.delete(key)
    }
    let place = parent.firstElementChild
    for (const item of items) {
      const key = keyOf(item)
      let view = views.get(key)
      if (view === undefined) {
        view = make(item)
        views.set(key, view)
      }
      view.update(item)
      if (view.node === place) place = place.nextElementSibling
      else parent.insertBefore(view.node, place)
    }
  }
}

/** By code units of a name: an order that does not depend on rates, so rows stay where they are. */
export function byName<T>(items: readonly T[], nameOf: (item: T) => string): T[] {
  return [...items].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : 0))
}
