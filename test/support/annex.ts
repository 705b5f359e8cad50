import { execFile, spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'

/** What the tests keep git and git-annex from: the user's configuration, terminals, other locales. */
function isolated(home: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    HOME: home,
    GIT_CONFIG_GLOBAL: join(home, 'gitconfig'),
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_AUTHOR_DATE: '2024-05-06T07:08:09Z',
    GIT_COMMITTER_DATE: '2024-05-06T07:08:09Z',
    LC_ALL: 'C.UTF-8',
  }
}

const CONFIG = `[user]
  name = Test
  email = test@example.com
[init]
  defaultBranch = main
[protocol "file"]
  allow = always
[annex "security"]
  allowed-ip-addresses = all
[gc]
  auto = 0
`

/** The committer time of all commits made here, in milliseconds. */
export const COMMIT_TIME = Date.parse('2024-05-06T07:08:09Z')

/** A folder for repositories made with the real git and git-annex, away from the user's own configuration. */
export class AnnexWorld {
  readonly folder: string
  readonly environment: NodeJS.ProcessEnv

  constructor(folder: string) {
    this.folder = folder
    this.environment = isolated(folder)
  }

  /** Runs a program in `cwd` (relative to the world) and gives its output; fails the test with what it said. */
  async run(
    cwd: string,
    program: string,
    args: readonly (string | Buffer)[],
    options: { input?: string | Buffer; env?: NodeJS.ProcessEnv; accept?: readonly number[] } = {},
  ): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const child = spawn(program, args as string[], {
        cwd: join(this.folder, cwd),
        env: { ...this.environment, ...options.env },
        stdio: ['pipe', 'pipe', 'pipe'],
        timeout: 120_000,
      })
      const output: Buffer[] = []
      const complaint: Buffer[] = []
      child.stdout.on('data', (chunk: Buffer) => output.push(chunk))
      child.stderr.on('data', (chunk: Buffer) => complaint.push(chunk))
      child.stdin.on('error', () => undefined)
      child.stdin.end(options.input ?? '')
      child.once('error', reject)
      child.once('close', (code) => {
        if (code === 0 || (code !== null && options.accept?.includes(code) === true)) resolve(Buffer.concat(output))
        else reject(new Error(`${program} ${args.join(' ')}: exit ${code}: ${Buffer.concat(complaint).toString()}`))
      })
    })
  }

  /** `git ARGS` in the repository `repository`; its output as text without the last newline. */
  async git(repository: string, ...args: string[]): Promise<string> {
    return (await this.run(repository, 'git', args)).toString('utf8').replace(/\n$/, '')
  }

  async annex(repository: string, ...args: string[]): Promise<string> {
    return this.git(repository, 'annex', ...args)
  }

  /** A new repository with git-annex initialised (unless `plain`). */
  async repository(name: string, options: { plain?: boolean; bare?: boolean; init?: string[] } = {}): Promise<string> {
    await mkdir(join(this.folder, name), { recursive: true })
    await this.git(name, 'init', '--quiet', ...(options.bare === true ? ['--bare'] : []), ...(options.init ?? []))
    if (options.plain !== true) await this.annex(name, 'init', '--quiet', name)
    return join(this.folder, name)
  }

  /** Writes a file (its folders too) in a repository. */
  async write(repository: string, path: string, content: string | Uint8Array): Promise<void> {
    const file = join(this.folder, repository, path)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, content)
  }

  /** Writes files, annexes them and commits. */
  async addAnnexed(repository: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
    for (const [path, content] of Object.entries(files)) await this.write(repository, path, content)
    await this.annex(repository, 'add', '--quiet', ...Object.keys(files))
    await this.git(repository, 'commit', '--quiet', '-m', 'add')
  }
}

/** A new {@link AnnexWorld}, removed when the test ends. */
export async function annexWorld(t: Pick<TestContext, 'after'>): Promise<AnnexWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'annexfs-annex-'))
  t.after(async () => {
    // git-annex takes the write bits of its objects and their folders.
    await new Promise((resolve) => execFile('chmod', ['-R', 'u+w', folder], resolve))
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })
  await writeFile(join(folder, 'gitconfig'), CONFIG)
  return new AnnexWorld(folder)
}
