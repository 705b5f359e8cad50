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
/** Native parts, which look for their files beside them. */
const NATIVE = ['fuse-native', 'fs-native-extensions', 'node-datachannel', 'utp-native', 'bufferutil', 'utf-8-validate']
/** What only the process of the swarm loads. */
const OF_SWARM = ['webtorrent', 'bencode']

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
  const common = {
    outdir: out,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    minifyWhitespace: true,
    // `import()` is not known to functions that were compiled beforehand.
    supported: { 'dynamic-import': false },
    logLevel: 'warning',
    legalComments: 'none',
    metafile: true,
    write: false,
  }
  const places = { name: 'places', setup: keepPlaces }
  const programs = await esbuild.build({
    ...common,
    entryPoints: PROGRAMS.map((name) => join(dist, 'cmd', `${name}.js`)),
    external: [...NATIVE, ...OF_SWARM],
    plugins: [places],
  })
  for (const { path, text } of programs.outputFiles) keep(basename(path, '.js'), loadedWhenUsed(text))
  const swarm = await esbuild.build({
    ...common,
    entryPoints: { swarm: join(dist, 'lib', 'swarm', 'process.js') },
    external: NATIVE,
    plugins: [{ name: 'safe bencode', setup: replaceBencode }, { name: 'WebRTC', setup: leaveWebRtc }, places],
  })
  const unsafe = Object.keys(swarm.metafile.inputs).filter((path) => path.endsWith('bencode/lib/decode.js'))
  if (unsafe.length > 0) throw new Error(`decoders that peers could hang the process with: ${unsafe.join(' ')}`)
  for (const { text } of swarm.outputFiles) keep('swarm', text)
}

function keep(program, text) {
  const script = ascii(`(function(require,module,exports,__filename){${HEAD}${text}\n})`)
  const name = `${program}-${createHash('sha256').update(script).digest('hex').slice(0, 16)}.cjs`
  writeFileSync(join(out, name), script)
}

/** What lib/torrent/bencode-install.ts does where modules are loaded: each copy of npm `bencode` decodes safely. */
function replaceBencode(build) {
  const compat = JSON.stringify(join(dist, 'lib', 'torrent', 'bencode-compat.js'))
  const replaced = (path, from, to) => {
    const text = readFileSync(path, 'utf8')
    if (!from.test(text)) throw new Error(`the decoder of ${path} could not be replaced`)
    return { contents: text.replace(from, to), loader: 'js' }
  }
  build.onLoad({ filter: /\/bencode\/index\.js$/ }, ({ path }) =>
    replaced(
      path,
      /^import decode from '\.\/lib\/decode\.js'$/m,
      `import { compatibleDecode } from ${compat}\nconst decode = compatibleDecode('copies')`,
    ),
  )
  build.onLoad({ filter: /\/bencode\/lib\/index\.js$/ }, ({ path }) =>
    replaced(path, /\brequire\( ?'\.\/decode(?:\.js)?' ?\)/, `require(${compat}).compatibleDecode('views')`),
  )
  build.onLoad({ filter: /\/lib\/torrent\/bencode-install\.js$/ }, () => ({
    contents: 'export async function installSafeBencode() { return [] }',
    loader: 'js',
  }))
}

/** webtorrent's own WebRTC is not used (lib/swarm/web-rtc.ts is), and waits for something while it is loaded. */
function leaveWebRtc(build) {
  build.onResolve({ filter: /^webrtc-polyfill/ }, () => ({ path: 'webrtc-polyfill', namespace: 'left' }))
  build.onLoad({ filter: /.*/, namespace: 'left' }, () => ({
    contents:
      'export const RTCPeerConnection = undefined, RTCSessionDescription = undefined, RTCIceCandidate = undefined; export default {}',
    loader: 'js',
  }))
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
