// Compiles everything into dist/ and makes the programs executable.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)
const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc')
const result = spawnSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.json')], { cwd: root, stdio: 'inherit' })
for (const program of ['annexfs.cjs', 'mount.annexfs.cjs']) {
  const path = join(root, 'dist', 'cmd', program)
  if (existsSync(path)) chmodSync(path, 0o755)
}
process.exit(result.status ?? 1)
