// Joins what the programs load into few files: reading 600 modules takes Node.js longer than all else that a start does.
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const dist = join(root, 'dist')
const out = join(dist, 'bundle')

/** The programs that are started, by `annexfs.cjs` and `mount.annexfs.cjs`. */
const PROGRAMS = ['main', 'mount-helper']
/** Native parts, which look for their files beside them, and what only the process of the swarm loads. */
const APART = ['fuse-native', 'fs-native-extensions', 'node-datachannel', 'webtorrent', 'bencode']

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
  await esbuild.build({
    entryPoints: PROGRAMS.map((name) => join(dist, 'cmd', `${name}.js`)),
    outdir: out,
    outExtension: { '.js': '.mjs' },
    chunkNames: 'part-[hash]',
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    minifyWhitespace: true,
    external: APART,
    // Packages in CommonJS ask for Node.js' own modules by it.
    banner: { js: "import{createRequire as requireFrom}from'node:module';const require=requireFrom(import.meta.url);" },
    plugins: [{ name: 'places', setup: keepPlaces }],
    logLevel: 'warning',
    legalComments: 'none',
  })
}

/** Modules find workers, programs and files beside themselves: each goes on saying where it was. */
function keepPlaces(build) {
  build.onLoad({ filter: /\.js$/ }, ({ path }) => {
    if (!path.startsWith(dist + sep)) return undefined
    const text = readFileSync(path, 'utf8')
    if (!text.includes('import.meta.url')) return undefined
    const place = JSON.stringify(relative(out, path).split(sep).join('/'))
    return { contents: text.replaceAll('import.meta.url', `new URL(${place},import.meta.url).href`), loader: 'js' }
  })
}
