import { readFile } from 'node:fs/promises'
import { cpus, release, totalmem } from 'node:os'
import { runProgram } from './lab.js'
import { DROPPING } from './page-cache.js'

/** What a reader of the figures must know of the machine, one fact a line. */
export async function machineFacts(): Promise<readonly string[]> {
  const processors = cpus()
  const versions = await Promise.all([
    version('annexfs', async () => {
      const manifest = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
        version: string
      }
      return manifest.version
    }),
    version('rclone', async () => /v([\d.]\S*)/.exec(await said('rclone', ['version']))?.[1]),
    version('btfs', async () => /btfs version: (\S+)/.exec(await said('btfs', ['--version']))?.[1]),
    version('nginx', async () => /nginx\/(\S+)/.exec(await said('nginx', ['-v']))?.[1]),
    version('libtorrent', async () =>
      (await said('/usr/bin/python3', ['-c', 'import libtorrent; print(libtorrent.version)'])).trim(),
    ),
    version('git-annex', async () => (await said('git', ['annex', 'version', '--raw'])).trim()),
    version('git', async () => /([\d.]+)/.exec(await said('git', ['--version']))?.[1]),
  ])
  return [
    `${processors.length} cores (${processors[0]?.model.trim() ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GiB of memory`,
    `Linux ${release()}, ${await system()}, Node.js ${process.versions.node}`,
    versions.filter((one) => one !== undefined).join(', '),
    `warm rows: ${DROPPING}`,
  ]
}

async function system(): Promise<string> {
  const about = await readFile('/etc/os-release', 'utf8')
  return /^PRETTY_NAME="?([^"\n]*)/m.exec(about)?.[1] ?? 'unknown system'
}

async function version(name: string, ask: () => Promise<string | undefined>): Promise<string | undefined> {
  try {
    return `${name} ${(await ask()) ?? '?'}`
  } catch {
    // Not installed: its rows are missing too.
    return undefined
  }
}

async function said(program: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await runProgram(program, args, {
    env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
  })
  return stdout + stderr
}
