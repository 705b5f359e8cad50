import assert from 'node:assert/strict'
import { chown } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { privateRoom, Scratch } from '../../lib/cache/scratch.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { Stores } from '../../lib/stores/stores.js'
import { annexWorld } from '../support/annex.js'

test(
  'goal 24: the configuration of another user opens no way to private addresses',
  { timeout: 60_000, skip: process.getuid?.() !== 0 },
  async (t) => {
    const world = await annexWorld(t)
    const repository = await world.repository('here')
    await world.git('here', 'config', 'annex.security.allowed-ip-addresses', 'all')
    const allows = async (): Promise<boolean> => {
      const git = await GitRepository.open(repository, silentLog)
      const annex = await AnnexRepository.open(git, silentLog)
      const stores = new Stores(annex, {
        allowAddresses: [],
        cacheFolder: world.folder,
        scratch: new Scratch(world.folder, privateRoom(1), silentLog),
        log: silentLog,
        forbid: () => false,
      })
      const { policy } = await stores.reach()
      await stores.close()
      await annex.close()
      await git.close()
      return policy.allows('127.0.0.1')
    }
    assert.equal(await allows(), true)
    await chown(join(repository, '.git'), 12_345, 12_345)
    assert.equal(await allows(), false)
  },
)
