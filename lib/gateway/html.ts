import { printable } from '../log/log.js'

/** Text for HTML and XML, in elements and in attributes with quotes. */
export function escapeMarkup(text: string): string {
  return text.replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`)
}

/** A name for people: what would not be seen is shown as what it is. */
export function shownName(name: string): string {
  return escapeMarkup(printable(name))
}
