import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A home of gpg for one test; its path is short, because the agent's socket lies in it. */
export interface GpgHome {
  readonly folder: string
  /** Fingerprint of a key pair without a passphrase. */
  readonly keyId: string
  /** Runs gpg there. */
  gpg(...args: string[]): Promise<string>
  /** A further key pair, with a passphrase if one is given; its fingerprint. */
  newKey(name: string, passphrase?: string): Promise<string>
  /** Ends the agent, which forgets its passphrases. */
  endAgent(): Promise<void>
}

const original = process.env['GNUPGHOME']
/** Those in use, in whatever order their tests end. */
const homes: string[] = []

function useLast(): void {
  const home = homes.at(-1) ?? original
  if (home === undefined) delete process.env['GNUPGHOME']
  else process.env['GNUPGHOME'] = home
}

/**
 * Makes a home of gpg with a key, and has this process (and what it starts) use it until the test ends; then the agent is
 * ended and the home removed.
 */
export async function gpgHome(t: Pick<TestContext, 'after'>): Promise<GpgHome> {
  const folder = await mkdtemp(join(tmpdir(), 'gpg-'))
  const env = { ...process.env, GNUPGHOME: folder, LC_ALL: 'C.UTF-8' }
  homes.push(folder)
  useLast()
  const endAgent = async (): Promise<void> => void (await run('gpgconf', ['--kill', 'all'], { env }))
  t.after(async () => {
    homes.splice(homes.indexOf(folder), 1)
    useLast()
    await endAgent()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  })
  const gpg = async (...args: string[]): Promise<string> =>
    (await run('gpg', ['--batch', '--quiet', '--no-tty', ...args], { env })).stdout
  const newKey = async (name: string, passphrase = ''): Promise<string> => {
    const secret = ['--pinentry-mode', 'loopback', '--passphrase', passphrase]
    await gpg(...secret, '--quick-generate-key', `${name} <${name}@example.com>`, 'ed25519', 'default', 'never')
    const listing = await gpg('--with-colons', '--list-keys', `=${name} <${name}@example.com>`)
    const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(listing)?.[1] ?? ''
    await gpg(...secret, '--quick-add-key', fingerprint, 'cv25519', 'encr', 'never')
    return fingerprint
  }
  return { folder, keyId: await newKey('test'), gpg, newKey, endAgent }
}
