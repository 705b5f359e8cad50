import { annexfs, LOOPBACK, rclone, RCLONE_SETTINGS } from './contestants.js'
import type { Bytes } from '../lib/space/space.js'
import type { ContentSetting } from './content-rows.js'
import { runProgram, type Lab } from './lab.js'
import { makeServedFile } from './served-file.js'
import { startWebServer } from './web-server.js'

const FILE = 'large.bin'

/** A file behind nginx on loopback; annexfs mounts a git-annex repository that names its URL, rclone the server. */
export async function webSetting(
  lab: Lab,
  length: Bytes,
  installed: (program: string) => boolean,
): Promise<Pick<ContentSetting, 'contestants' | 'source' | 'sent'>> {
  const { folder, file } = await makeServedFile(lab, FILE, length)
  const server = await startWebServer(lab, folder)
  const repository = await makeRepository(lab, file, `${server.url}/${FILE}`)
  const mine = annexfs({
    settings: 'a key with SHA-256 and a URL, --allow-address 127.0.0.0/8, all else as it comes',
    file: FILE,
    source: repository,
    options: LOOPBACK,
  })
  const other = rclone({ settings: RCLONE_SETTINGS, file: FILE, source: server.url })
  return { contestants: installed('rclone') ? [mine, other] : [mine], source: file, sent: () => server.sent() }
}

/** Made by git-annex: the file is known by its key, and only the web has it. */
async function makeRepository(lab: Lab, file: string, url: string): Promise<string> {
  const repository = await lab.folderFor('repository')
  const git = async (...args: string[]): Promise<string> => {
    const { stdout } = await runProgram('git', ['-c', 'annex.security.allowed-ip-addresses=127.0.0.1', ...args], {
      cwd: repository,
      env: gitEnvironment(repository),
    })
    return stdout.trim()
  }
  await git('init', '--quiet')
  await git('annex', 'init', '--quiet', 'bench')
  const key = await git('annex', 'calckey', '--backend=SHA256E', file)
  await git('annex', 'fromkey', '--quiet', '--force', key, FILE)
  await git('annex', 'registerurl', '--quiet', key, url)
  await git('commit', '--quiet', '--message', 'A large file')
  return repository
}

/** The user's own git configuration (signing, hooks, templates) must not meddle. */
export function gitEnvironment(home: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    HOME: home,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_AUTHOR_NAME: 'bench',
    GIT_AUTHOR_EMAIL: 'bench@localhost',
    GIT_COMMITTER_NAME: 'bench',
    GIT_COMMITTER_EMAIL: 'bench@localhost',
    LC_ALL: 'C.UTF-8',
  }
}
