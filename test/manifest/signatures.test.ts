import assert from 'node:assert/strict'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { CommitSignatures } from '../../lib/manifest/signatures.js'
import { annexWorld } from '../support/annex.js'
import { gpgHome } from '../support/gpg.js'

test(
  'a commit that could not be checked is checked again; a verdict is remembered',
  { timeout: 180_000 },
  async (t) => {
    const home = await gpgHome(t)
    const world = await annexWorld(t)
    await world.repository('r', { plain: true })
    const env = { GNUPGHOME: home.folder }
    const signed = async (message: string): Promise<string> => {
      const words = ['-c', `user.signingkey=${home.keyId}`, 'commit', '--quiet', '--allow-empty', '-S', '-m', message]
      await world.run('r', 'git', words, { env })
      return world.git('r', 'rev-parse', 'HEAD')
    }
    const [good, other] = [await signed('good'), await signed('other')]
    const program = join(world.folder, 'gpg-here')
    const config = join(world.folder, 'global')
    await writeFile(config, `[gpg]\n\tprogram = ${program}\n[safe]\n\tdirectory = *\n`)
    const before = process.env['GIT_CONFIG_GLOBAL']
    process.env['GIT_CONFIG_GLOBAL'] = config
    t.after(() => {
      if (before === undefined) delete process.env['GIT_CONFIG_GLOBAL']
      else process.env['GIT_CONFIG_GLOBAL'] = before
    })
    const put = async (script: string): Promise<void> => {
      await writeFile(program, `#!/bin/sh\n${script}\n`)
      await chmod(program, 0o700)
    }
    const git = await GitRepository.open(join(world.folder, 'r'), silentLog)
    t.after(() => git.close())
    const patient = new CommitSignatures(git, silentLog)
    const signatures = new CommitSignatures(git, silentLog, 0)
    assert.equal(await signatures.isGood(good), false, 'there is no such program')
    assert.equal(await patient.isGood(good), false)
    await put('exec gpg "$@"')
    assert.equal(await signatures.isGood(good), true)
    assert.equal(await patient.isGood(good), false, 'not asked about again so soon')
    await put('echo "[GNUPG:] BADSIG 0123456789ABCDEF somebody"; exit 1')
    assert.equal(await signatures.isGood(good), true)
    assert.equal(await signatures.isGood(other), false)
    await put('exec gpg "$@"')
    assert.equal(await signatures.isGood(other), false)
    assert.equal(await new CommitSignatures(git, silentLog).isGood(other), true)
  },
)
