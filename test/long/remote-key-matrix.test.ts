import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { reads, RemoteWorld } from '../sources/remote-key-world.js'
import { gpgHome } from '../support/gpg.js'

const CHUNKINGS: readonly (readonly [string, string | undefined, number])[] = [
  ['whole', undefined, 100_000],
  ['mib', 'chunk=1MiB', 1_048_576],
  ['kb', 'chunk=100 KB', 100_000],
]

for (const encryption of ['none', 'shared', 'hybrid', 'pubkey', 'sharedpubkey']) {
  test(
    `encryption=${encryption}: every size around the chunk size is read, with and without chunks`,
    { timeout: 240_000 },
    async (t) => {
      const home = await gpgHome(t)
      const world = await RemoteWorld.make(t)
      const keyid = ['none', 'shared'].includes(encryption) ? [] : [`keyid=${home.keyId}`]
      const contents = new Map<string, Buffer>()
      const files = new Map<string, string[]>()
      for (const [name, chunk, size] of CHUNKINGS) {
        const settings = [`encryption=${encryption}`, ...keyid, ...(chunk === undefined ? [] : [chunk])]
        await world.initremote(name, ...settings)
        const lengths = [0, 1, size - 1, size, size + 1, Math.floor(2.5 * size)]
        files.set(name, lengths.map(String))
        for (const length of lengths) contents.set(String(length), randomBytes(length))
      }
      await world.annex.addAnnexed('here', Object.fromEntries(contents))
      for (const [name, list] of files) await world.copy(name, ...list)
      const annex = await world.open()
      for (const [name, list] of files) {
        for (const file of list) {
          const source = await world.source(annex, name, await world.keyOf(file))
          const content = contents.get(file)
          assert.ok(content)
          assert.ok(await reads(source, content), `${name}: ${file}`)
        }
      }
    },
  )
}
