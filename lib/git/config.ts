/** A git configuration as `git config --list -z` gives it: the last value of a name wins. */
export class GitConfig {
  private readonly values = new Map<string, string[]>()
  private readonly sections = new Map<string, Set<string>>()

  constructor(listing: Buffer) {
    for (const item of listing.toString('utf8').split('\0')) {
      if (item === '') continue
      const newline = item.indexOf('\n')
      // A name without `=` means true.
      const name = newline < 0 ? item : item.slice(0, newline)
      const value = newline < 0 ? 'true' : item.slice(newline + 1)
      const existing = this.values.get(name)
      if (existing === undefined) this.values.set(name, [value])
      else existing.push(value)
      this.addSubsection(name)
    }
  }

  /** The value of `section.key` or `section.Sub.key` (section and key in lower case). */
  get(name: string): string | undefined {
    return this.values.get(name)?.at(-1)
  }

  /** All values of a name, in order. */
  all(name: string): readonly string[] {
    return this.values.get(name) ?? []
  }

  /** A value as git reads booleans; undefined when it is not set or is not one. */
  bool(name: string): boolean | undefined {
    const value = this.get(name)?.toLowerCase()
    if (value === undefined) return undefined
    if (['true', 'yes', 'on', '1'].includes(value)) return true
    if (['false', 'no', 'off', '0', ''].includes(value)) return false
    return undefined
  }

  /** All names that begin with `prefix`. */
  names(prefix: string): readonly string[] {
    return [...this.values.keys()].filter((name) => name.startsWith(prefix))
  }

  /** The subsections of `section` in the order they were met: `remote` → names of remotes. */
  subsections(section: string): readonly string[] {
    return [...(this.sections.get(section) ?? [])]
  }

  /** The keys and last values of `section.subsection`. */
  under(section: string, subsection: string): ReadonlyMap<string, string> {
    const prefix = `${section}.${subsection}.`
    const found = new Map<string, string>()
    for (const [name, values] of this.values) {
      if (!name.startsWith(prefix)) continue
      const key = name.slice(prefix.length)
      const value = values.at(-1)
      if (!key.includes('.') && value !== undefined) found.set(key, value)
    }
    return found
  }

  private addSubsection(name: string): void {
    const first = name.indexOf('.')
    const last = name.lastIndexOf('.')
    if (first < 0 || first === last) return
    const section = name.slice(0, first)
    const existing = this.sections.get(section)
    if (existing === undefined) this.sections.set(section, new Set([name.slice(first + 1, last)]))
    else existing.add(name.slice(first + 1, last))
  }
}
