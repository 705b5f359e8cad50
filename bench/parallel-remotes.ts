import { annexfs, LOOPBACK, rclone, RCLONE_SETTINGS } from './contestants.js'
import { startSlowProxy, type SlowProxy } from '../test/support/slow-proxy.js'
import type { Bytes } from '../lib/space/space.js'
import { gitEnvironment } from './http.js'
import { runProgram, type Lab } from './lab.js'
import { type Contestant } from './mounts.js'
import { makeServedFile } from './served-file.js'
import { startWebServer } from './web-server.js'

const FILE = 'large.bin'
export const MIB = 1024 * 1024

/** A file that several slow servers have, and repositories that know some of them. */
export interface Remotes {
  readonly file: string
  readonly proxies: readonly SlowProxy[]
  readonly urls: readonly string[]
  /** A repository of the file with the URLs of some of the servers. */
  repository(servers: readonly number[]): Promise<string>
  /** Bytes that all servers have sent. */
  sent(): Bytes
  /** All at full rate, without latency. */
  reset(): Promise<void>
}

/** One nginx behind `count` lines of `rate` bytes a second each: to the reader they are servers of their own. */
export async function slowRemotes(lab: Lab, length: Bytes, count: number, rate: number): Promise<Remotes> {
  const { folder, file } = await makeServedFile(lab, FILE, length)
  const server = await startWebServer(lab, folder)
  const proxies: SlowProxy[] = []
  for (let i = 0; i < count; i++) {
    const proxy = await startSlowProxy({ port: Number(new URL(server.url).port), rate })
    lab.onClose(() => proxy.close())
    proxies.push(proxy)
  }
  const urls = proxies.map((proxy) => `http://127.0.0.1:${proxy.port}/${FILE}`)
  return {
    file,
    proxies,
    urls,
    repository: (servers) =>
      makeRepository(
        lab,
        file,
        servers.map((i) => urls[i] ?? ''),
      ),
    sent: () => proxies.reduce((sum, proxy) => sum + proxy.sent, 0),
    reset: async () => {
      for (const proxy of proxies) {
        proxy.rate = rate
        proxy.latency = 0
        await proxy.revive()
      }
    },
  }
}

/** annexfs on a repository of {@link Remotes}. */
export function annexfsOn(repository: string): Contestant {
  const settings = 'a key with SHA-256 and the URLs, --allow-address 127.0.0.0/8, all else as it comes'
  return annexfs({ settings, file: FILE, source: repository, options: LOOPBACK })
}

/** rclone knows one server at a time. */
export function rcloneOn(url: string): Contestant {
  return rclone({ settings: `one of the servers, ${RCLONE_SETTINGS}`, file: FILE, source: new URL('.', url).href })
}

/** How long `git annex get` takes for the file, in milliseconds. */
export async function gitAnnexGet(repository: string): Promise<number> {
  const began = performance.now()
  await annexGit(repository, 'annex', 'get', '--quiet', FILE)
  return performance.now() - began
}

/** How long aria2c takes for the file from all of `urls`, in milliseconds. */
export async function aria2(lab: Lab, urls: readonly string[]): Promise<number> {
  const folder = await lab.folderFor('aria2')
  const began = performance.now()
  const split = ['--split', String(urls.length * 2), '--max-connection-per-server', '2', '--min-split-size', '1M']
  await runProgram('aria2c', ['--quiet', '--no-conf', '--file-allocation=none', ...split, '--dir', folder, ...urls])
  return performance.now() - began
}

async function annexGit(repository: string, ...args: string[]): Promise<string> {
  const { stdout } = await runProgram('git', ['-c', 'annex.security.allowed-ip-addresses=127.0.0.1', ...args], {
    cwd: repository,
    env: gitEnvironment(repository),
  })
  return stdout.trim()
}

/** Made by git-annex: the file is known by its key, and only the web has it. */
async function makeRepository(lab: Lab, file: string, urls: readonly string[]): Promise<string> {
  const repository = await lab.folderFor('repository')
  await annexGit(repository, 'init', '--quiet')
  await annexGit(repository, 'annex', 'init', '--quiet', 'bench')
  const key = await annexGit(repository, 'annex', 'calckey', '--backend=SHA256E', file)
  await annexGit(repository, 'annex', 'fromkey', '--quiet', '--force', key, FILE)
  for (const url of urls) await annexGit(repository, 'annex', 'registerurl', '--quiet', key, url)
  await annexGit(repository, 'commit', '--quiet', '--message', 'A large file')
  return repository
}
