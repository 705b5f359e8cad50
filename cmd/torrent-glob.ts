import { AnnexfsError } from '../lib/errors.js'

/**
 * Whether one of `globs` selects a path within a torrent: `*`, `?` and `[…]` within a name, `**` across folders,
 * `{a,b}`. A glob without a slash is compared with every name of the path, so that a folder's name selects what is in
 * it; one with a slash with the whole path, or a folder above.
 * @throws AnnexfsError USAGE for a glob that cannot be read.
 */
export function selector(globs: readonly string[]): (path: readonly string[]) => boolean {
  const tests = globs.map((glob) => {
    const text = glob.replace(/^(\.?\/)+/, '').replace(/\/+$/, '')
    if (text === '') throw new AnnexfsError('USAGE', `--select ${JSON.stringify(glob)} selects nothing`)
    const pattern = compile(text, glob)
    if (!text.includes('/')) return (path: readonly string[]) => path.some((name) => pattern.test(name))
    return (path: readonly string[]) => path.some((_, index) => pattern.test(path.slice(0, index + 1).join('/')))
  })
  return tests.length === 0 ? () => true : (path) => tests.some((test) => test(path))
}

/** Stars are merged and lazy; a pattern is the user's own, so its cost is his. */
function compile(text: string, glob: string): RegExp {
  let source = ''
  let braces = 0
  for (let at = 0; at < text.length; at++) {
    const rest = text.slice(at)
    const double = /^\*{2,}\/?/.exec(rest)?.[0]
    const set = /^\[([!^]?)(\]?[^\]]*)\]/.exec(rest)
    if (double !== undefined) {
      source += double.endsWith('/') ? '(?:[^]*\\/)?' : '[^]*'
      at += double.length - 1
    } else if (rest.startsWith('*')) source += '[^/]*'
    else if (rest.startsWith('?')) source += '[^/]'
    else if (set !== null) {
      source += `[${set[1] === '' ? '' : '^/'}${(set[2] ?? '').replace(/[\\\]^[]/g, '\\$&')}]`
      at += set[0].length - 1
    } else if (rest.startsWith('{') && rest.includes('}')) {
      source += '(?:'
      braces += 1
    } else if (rest.startsWith('}') && braces > 0) {
      source += ')'
      braces -= 1
    } else if (rest.startsWith(',') && braces > 0) source += '|'
    else if (rest.startsWith('\\') && rest.length > 1) {
      at += 1
      source += escaped(text.charAt(at))
    } else source += escaped(rest.charAt(0))
  }
  try {
    return new RegExp(`^${source}$`, 's')
  } catch (error) {
    throw new AnnexfsError('USAGE', `--select ${JSON.stringify(glob)} is not a glob`, { cause: error })
  }
}

function escaped(character: string): string {
  return character.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&')
}
