/** What tests look at in a page, from inside: see `seen-in-page.cts`, which runs there. */
export interface Seen {
  /** WCAG 2.1, 1.4.3, over all text that can be seen: how many were looked at, and those that are hard to read. */
  lowContrast(): { readonly checked: number; readonly low: readonly string[] }
  /** What has the focus; undefined for nothing. */
  focus(): { readonly id: string; readonly text: string; readonly outline: string } | undefined
  /** Puts the focus before everything. */
  unfocus(): void
  /** Text that does not fit into its box. */
  cut(): readonly string[]
  /** What screen readers go by. */
  structure(): {
    readonly lang: string
    readonly title: string
    /** Ids that are there more than once. */
    readonly twice: readonly string[]
    /** How many of header, nav, main, footer. */
    readonly landmarks: readonly number[]
    /** Levels, in order. */
    readonly headings: readonly number[]
    /** Names that are to be elsewhere and are not. */
    readonly dangling: number
    /** Pictures without a text. */
    readonly nameless: number
    /** Ids of what is read aloud when it changes. */
    readonly live: readonly string[]
  }
  /** Canvases in black and white: what is left of them on a printed page. */
  printed(selector: string): readonly string[]
  /** As if the window were covered, or seen again. */
  hide(hidden: boolean): void
}
