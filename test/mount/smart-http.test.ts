import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { annexWorld } from '../support/annex.js'
import { gitHttpServer } from '../support/git-http.js'
import { pseudoRandom } from '../support/peers.js'
import { mountSession } from '../support/session.js'

const LIMIT = { timeout: 180_000 }
const CONTENT = pseudoRandom(700_001, 'inside')
const OUTER = pseudoRandom(300_001, 'outside')

for (const suffix of ['', '/.git']) {
  test(
    `a repository behind git's smart http (…/super${suffix}) is mounted, and its sub-datasets entered`,
    LIMIT,
    async (t) => {
      const world = await annexWorld(t)
      await world.repository('srv/super')
      await world.addAnnexed('srv/super', { 'out.bin': OUTER })
      await world.repository('srv/super/sub')
      await world.addAnnexed('srv/super/sub', { 'in.bin': CONTENT })
      await world.git('srv/super', 'submodule', '--quiet', 'add', './sub', 'sub')
      await world.git('srv/super', 'commit', '--quiet', '-m', 'sub')
      const server = await gitHttpServer(t, join(world.folder, 'srv'))
      const mount = await mountSession(t, [`${server.url}/super${suffix}`], {
        options: ['--recursive', '--allow-address=127.0.0.1'],
      })
      assert.deepEqual((await readdir(mount.path)).sort(), ['.gitmodules', 'out.bin', 'sub'])
      assert.ok(OUTER.equals(await readFile(join(mount.path, 'out.bin'))), mount.log())
      assert.deepEqual(await readdir(join(mount.path, 'sub')), ['in.bin'], mount.log())
      assert.ok(CONTENT.equals(await readFile(join(mount.path, 'sub/in.bin'))), mount.log())
      assert.ok(
        server.smart.some((request) => /^POST .*git-upload-pack$/.test(request)),
        server.smart.join('\n'),
      )
      assert.equal(await mount.stop(), 0, mount.log())
    },
  )
}
