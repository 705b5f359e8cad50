// Compiles what the gateway's page runs in the browser, and puts its other files beside it: `node cmd/page.mjs [DIST]`.
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)

/** Browsers have other globals than Node.js, hence a compilation of its own. Returns its exit code. */
export function compilePage(dist) {
  const folder = join('lib', 'gateway', 'page', 'browser')
  const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc')
  const project = ['-p', join(root, folder), '--outDir', dist]
  const { status } = spawnSync(process.execPath, [tsc, ...project], { cwd: root, stdio: 'inherit' })
  mkdirSync(join(dist, folder), { recursive: true })
  for (const name of ['page.html', 'page.css']) copyFileSync(join(root, folder, name), join(dist, folder, name))
  return status ?? 1
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  process.exitCode = compilePage(resolve(process.argv[2] ?? 'dist'))
