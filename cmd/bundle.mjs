// Joins what the programs load into few files: reading 600 modules takes Node.js longer than all else that a start does.
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const dist = join(root, 'dist')
const out = join(dist, 'bundle')

/** The programs that are started, by `annexfs.cjs` and `mount.annexfs.cjs`. */
const PROGRAMS = ['main', 'mount-helper']
/** Native parts, which look for their files beside them, and what only the process of the swarm loads. */
const APART = ['fuse-native', 'fs-native-extensions', 'node-datachannel', 'webtorrent', 'bencode']

/** Where the script lies; `import.meta` is for modules only. */
const HEAD =
  "const bundlePlace=require('node:url').pathToFileURL(__filename).href," +
  'loadOnce=(load)=>{let loaded;return()=>loaded??=load()};'

/** Makes `dist/bundle` of the compiled modules; without esbuild the programs load those one by one. */
export async function bundlePrograms() {
  rmSync(out, { recursive: true, force: true })
  let esbuild
  try {
    esbuild = await import('esbuild')
  } catch (error) {
    // It has no program for each machine, and annexfs works without.
    process.stderr.write(`annexfs: starts will take longer, for esbuild cannot be used: ${error.message}\n`)
    return
  }
  mkdirSync(out, { recursive: true })
  const { outputFiles } = await esbuild.build({
    entryPoints: PROGRAMS.map((name) => join(dist, 'cmd', `${name}.js`)),
    outdir: out,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    minifyWhitespace: true,
    external: APART,
    plugins: [{ name: 'places', setup: keepPlaces }],
    logLevel: 'warning',
    legalComments: 'none',
    write: false,
  })
  for (const { path, text } of outputFiles) {
    const script = ascii(`(function(require,module,exports,__filename){${HEAD}${loadedWhenUsed(text)}\n})`)
    const name = `${basename(path, '.js')}-${createHash('sha256').update(script).digest('hex').slice(0, 16)}.cjs`
    writeFileSync(join(out, name), script)
  }
}

/**
 * Loads other packages, and parts of Node.js, when they are first used: a start needs few of them. esbuild names what it
 * imports `import_…` and nothing else, and takes each part out of it where it is used.
 */
function loadedWhenUsed(text) {
  const lazy = text
    .replace(/\b(import_\w+) ?= ?(require\("[^"]+"\)|__toESM\(require\w*\([^()]*\)(?:, ?1)?\))/g, '$1=loadOnce(()=>$2)')
    .replace(/\bnew (import_\w+)((?:\.\w+)+)/g, 'new($1()$2)')
    .replace(/\b(import_\w+)\./g, '$1().')
  const bare = /[^\w'"]import_\w+(?![\w(=;,]|\(\))/.exec(lazy)
  if (bare !== null)
    throw new Error(`what is imported is used in an unknown way: ${lazy.slice(bare.index, bare.index + 80)}`)
  return lazy
}

/** A text that takes one byte for a character in memory, too. esbuild leaves what stands in a pattern. */
function ascii(text) {
  return text.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Modules find workers, programs and files beside themselves: each goes on saying where it was. */
function keepPlaces(build) {
  build.onLoad({ filter: /\.js$/ }, ({ path }) => {
    if (!path.startsWith(dist + sep)) return undefined
    const text = readFileSync(path, 'utf8')
    if (!text.includes('import.meta.url')) return undefined
    const place = JSON.stringify(relative(out, path).split(sep).join('/'))
    return { contents: text.replaceAll('import.meta.url', `new URL(${place},bundlePlace).href`), loader: 'js' }
  })
}
