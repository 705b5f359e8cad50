// Compiles everything into dist/ and makes the programs executable.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundlePrograms } from './bundle.mjs'
import { makeCodeCache } from './code-cache.mjs'
import { COMPILERS } from './compilers.mjs'
import { compilePage } from './page.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)
const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc')
const result = spawnSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.json')], { cwd: root, stdio: 'inherit' })
for (const program of ['annexfs.cjs', 'mount.annexfs.cjs']) {
  const path = join(root, 'dist', 'cmd', program)
  if (existsSync(path)) chmodSync(path, 0o755)
}
compileNative()
const page = await compilePage(join(root, 'dist'))
await bundlePrograms()
makeCodeCache()
process.exit((result.status ?? 1) || page)

/**
 * Compiles our native part (native-notes.md) with whichever C compiler there is. Without one, or when it fails, annexfs
 * works all the same, on libfuse's own threads.
 */
function compileNative() {
  const folder = join(root, 'lib', 'native')
  const sources = ['loop.c', 'reads.c', 'names.c', 'sums.c', 'store.c', 'module.c'].map((name) => join(folder, name))
  const target = join(root, 'dist', 'native', `annexfs-${process.platform}-${process.arch}.so`)
  mkdirSync(dirname(target), { recursive: true })
  rmSync(target, { force: true })
  for (const compiler of [process.env.CC, ...COMPILERS].filter((name) => name !== undefined && name !== '')) {
    // All that it calls is in the process already: nothing to link, and `cc` may be a tcc that has no libc to link with.
    // To another name first: a mount may have the old one open.
    const made = `${target}.${process.pid}`
    const run = spawnSync(compiler, ['-O2', '-fPIC', '-nostdlib', '-shared', '-o', made, ...sources], {
      encoding: 'utf8',
    })
    if (run.status === 0) {
      renameSync(made, target)
      return
    }
    rmSync(made, { force: true })
    if (run.error === undefined) process.stderr.write(`annexfs: ${compiler} cannot compile ${folder}: ${run.stderr}\n`)
  }
}
