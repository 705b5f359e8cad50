import { access, constants, readFile, stat } from 'node:fs/promises'
import { AnnexfsError, systemCode } from '../errors.js'
import { whyNoNativePart } from '../native/part.js'
import { loadNative } from '../fuse/native.js'
import { askVersion } from './program.js'

/** What one check found. */
export interface CheckResult {
  readonly ok: boolean
  /** What is there, or what is not. */
  readonly found: string
  /** One line for a shell (or a setting) that mends it. */
  readonly fix?: string
}

interface Check {
  readonly name: string
  readonly check: () => Promise<CheckResult>
  readonly needed: boolean
}

const NODE_LEAST = [20, 15] as const
/** `git cat-file --batch-command` came with it. */
const GIT_LEAST = [2, 36] as const
const CAP_SYS_ADMIN = 21n

export const CHECKS: readonly Check[] = [
  { name: 'node', check: checkNode, needed: true },
  { name: 'FUSE device', check: checkDevice, needed: true },
  { name: 'fusermount', check: checkFusermount, needed: true },
  { name: 'libfuse.so.2 and fuse-native', check: checkNative, needed: true },
  { name: 'own loop of threads', check: checkLoop, needed: false },
  { name: 'user_allow_other', check: checkAllowOther, needed: false },
  { name: 'privileges', check: checkPrivileges, needed: false },
  { name: 'git', check: checkGit, needed: true },
  { name: 'git-annex', check: checkGitAnnex, needed: false },
]

/** True when version `found` (its first numbers) is at least `least`. */
export function isAtLeast(found: string, least: readonly [number, number]): boolean {
  const [, major, minor] = /(\d+)\.(\d+)/.exec(found) ?? []
  if (major === undefined || minor === undefined) return false
  return Number(major) > least[0] || (Number(major) === least[0] && Number(minor) >= least[1])
}

async function checkNode(): Promise<CheckResult> {
  const found = process.version
  if (isAtLeast(found, NODE_LEAST)) return { ok: true, found }
  return { ok: false, found, fix: `install Node.js ${NODE_LEAST.join('.')} or newer (https://nodejs.org)` }
}

async function checkDevice(): Promise<CheckResult> {
  try {
    const device = await stat('/dev/fuse')
    if (!device.isCharacterDevice()) return { ok: false, found: '/dev/fuse is no device' }
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
    const fix = (await isContainer())
      ? 'start the container with: --device /dev/fuse --cap-add SYS_ADMIN'
      : 'sudo modprobe fuse'
    return { ok: false, found: '/dev/fuse is missing', fix }
  }
  try {
    await access('/dev/fuse', constants.R_OK | constants.W_OK)
    return { ok: true, found: '/dev/fuse can be opened' }
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return { ok: false, found: '/dev/fuse may not be opened by this user', fix: 'sudo chmod 666 /dev/fuse' }
  }
}

function checkLoop(): Promise<CheckResult> {
  const why = whyNoNativePart()
  if (why === undefined) return Promise.resolve({ ok: true, found: 'compiled and loaded' })
  const found = `not used, so reads of what is cached are slower: ${why}`
  return Promise.resolve({ ok: false, found, fix: 'sudo apt-get install tcc, then npm run build' })
}

async function checkFusermount(): Promise<CheckResult> {
  const path = await findProgram(['fusermount3', 'fusermount'])
  if (path === undefined) {
    return { ok: false, found: 'neither fusermount3 nor fusermount is installed', fix: 'sudo apt-get install fuse3' }
  }
  const program = await stat(path)
  const setuid = (program.mode & 0o4000) !== 0 && program.uid === 0
  if (setuid || process.getuid?.() === 0) return { ok: true, found: setuid ? `${path} (setuid root)` : path }
  return { ok: false, found: `${path} is not setuid root`, fix: `sudo chmod u+s ${path}` }
}

async function checkNative(): Promise<CheckResult> {
  try {
    loadNative()
    return { ok: true, found: 'loaded' }
  } catch (error) {
    if (!(error instanceof AnnexfsError)) throw error
    const fix = error.message.includes('libfuse.so.2')
      ? 'sudo apt-get install libfuse2 || sudo apt-get install libfuse2t64'
      : 'npm ci (no prebuilt binary for this kind of machine: see native-notes.md)'
    return { ok: false, found: error.message, fix }
  }
}

async function checkAllowOther(): Promise<CheckResult> {
  if (process.getuid?.() === 0) return { ok: true, found: 'not needed by root' }
  const text = await readFile('/etc/fuse.conf', 'utf8').catch((error: unknown) => {
    if (systemCode(error) === undefined) throw error
    return ''
  })
  if (/^\s*user_allow_other\s*$/m.test(text)) return { ok: true, found: 'set in /etc/fuse.conf' }
  return {
    ok: false,
    found: 'not set in /etc/fuse.conf; --allow-other will be refused',
    fix: 'echo user_allow_other | sudo tee -a /etc/fuse.conf',
  }
}

async function checkPrivileges(): Promise<CheckResult> {
  const where = (await isContainer()) ? 'in a container' : 'no container'
  if (process.getuid?.() !== 0) return { ok: true, found: `an ordinary user, ${where}; fusermount mounts for us` }
  const status = await readFile('/proc/self/status', 'utf8')
  const mask = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
  if ((mask >> CAP_SYS_ADMIN) & 1n) return { ok: true, found: `root with CAP_SYS_ADMIN, ${where}` }
  return {
    ok: false,
    found: `root without CAP_SYS_ADMIN, ${where}: mounting will be refused`,
    fix: 'start the container with: --device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined',
  }
}

async function checkGit(): Promise<CheckResult> {
  const found = await askVersion('git', ['--version'])
  if (found === undefined) return { ok: false, found: 'not installed', fix: 'sudo apt-get install git' }
  if (isAtLeast(found, GIT_LEAST)) return { ok: true, found }
  return { ok: false, found: `${found}, too old`, fix: `install git ${GIT_LEAST.join('.')} or newer` }
}

async function checkGitAnnex(): Promise<CheckResult> {
  const found = await askVersion('git-annex', ['version', '--raw'])
  if (found !== undefined) return { ok: true, found }
  return {
    ok: false,
    found: 'not installed; needed only for remotes that only git-annex can read',
    fix: 'sudo apt-get install git-annex',
  }
}

async function isContainer(): Promise<boolean> {
  for (const mark of ['/.dockerenv', '/run/.containerenv', '/run/systemd/container']) {
    const there = await access(mark).then(
      () => true,
      () => false,
    )
    if (there) return true
  }
  return process.env['container'] !== undefined
}

async function findProgram(names: readonly string[]): Promise<string | undefined> {
  const folders = (process.env['PATH'] ?? '').split(':').concat('/usr/bin', '/bin')
  for (const name of names) {
    for (const folder of folders) {
      const path = `${folder}/${name}`
      const runs = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
      if (folder !== '' && runs) return path
    }
  }
  return undefined
}
