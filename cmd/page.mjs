// Compiles what the gateway's page runs in the browser, and makes the files that are served: `node cmd/page.mjs [DIST]`.
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, extname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, gzipSync } from 'node:zlib'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)
const page = join('lib', 'gateway', 'page')

/** Browsers have other globals than Node.js, hence a compilation of its own. Returns its exit code. */
export async function compilePage(dist) {
  const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc')
  const project = ['-p', join(root, page, 'browser'), '--outDir', dist]
  const { status } = spawnSync(process.execPath, [tsc, ...project], { cwd: root, stdio: 'inherit' })
  if (status !== 0) return status ?? 1
  const served = join(dist, page, 'served')
  rmSync(served, { recursive: true, force: true })
  mkdirSync(served, { recursive: true })
  copyFileSync(join(root, page, 'browser', 'page.html'), join(served, 'page.html'))
  await makeSmall(join(dist, page, 'browser'), served)
  for (const name of readdirSync(served)) compress(join(served, name))
  return 0
}

/** One script and one style sheet, without what only people read. */
async function makeSmall(compiled, served) {
  const style = join(root, page, 'browser', 'page.css')
  let esbuild
  try {
    esbuild = await import('esbuild')
  } catch (error) {
    // It has no program for each machine, and the page works without it.
    process.stderr.write(
      `annexfs: the page is served as it is compiled, for esbuild cannot be used: ${error.message}\n`,
    )
    const modules = readdirSync(compiled).filter((name) => extname(name) === '.mjs')
    for (const name of modules) copyFileSync(join(compiled, name), join(served, name))
    copyFileSync(style, join(served, 'page.css'))
    return
  }
  await esbuild.build({
    entryPoints: [join(compiled, 'page.mjs'), style].map((path) => ({ in: path, out: 'page' })),
    outdir: served,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    format: 'esm',
    target: 'es2022',
    minify: true,
    logLevel: 'warning',
  })
}

/** Beside it, as browsers take it: once for all, so that the gateway needs no time for it. */
function compress(path) {
  const bytes = readFileSync(path)
  writeFileSync(`${path}.br`, brotliCompressSync(bytes))
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }))
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  process.exitCode = await compilePage(resolve(process.argv[2] ?? 'dist'))
