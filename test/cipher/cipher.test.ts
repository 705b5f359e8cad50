import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { chmod, chown, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { keyFile, parseKey, type Key } from '../../lib/annex/key.js'
import type { Cipher } from '../../lib/cipher/cipher.js'
import { decryptCreds } from '../../lib/cipher/creds.js'
import { gpgSettings } from '../../lib/cipher/gpg-settings.js'
import { encryptedNames } from '../../lib/cipher/names.js'
import { openCipher, remoteCipher } from '../../lib/cipher/open.js'
import { isAnnexfsError, reasonOf } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { gpgHome, type GpgHome } from '../support/gpg.js'
import { measured } from '../support/marks.js'
import { until } from '../support/peers.js'
import { temporaryFolder } from '../support/temp.js'
import { readAll, spaceOf } from '../sources/contract.js'
import { RemoteWorld } from '../sources/remote-key-world.js'

const soon = (): AbortSignal => AbortSignal.timeout(60_000)

function keyOf(raw: string): Key {
  const key = parseKey(raw)
  assert.ok(key)
  return key
}

/** A secret as git-annex makes one: 684 characters and a newline. */
function newSecret(): { config: Map<string, string>; passphrase: string; text: string } {
  const text = `${randomBytes(512).toString('base64')}\n`
  const config = new Map([
    ['encryption', 'shared'],
    ['cipher', Buffer.from(text).toString('base64')],
  ])
  return { config, passphrase: text.slice(256, -1), text }
}

interface Shared {
  readonly home: GpgHome
  readonly cipher: Cipher
  readonly folder: string
  /** Encrypts as git-annex does, with more options for gpg. */
  readonly encrypt: (content: Buffer, ...options: string[]) => Promise<Buffer>
}

async function shared(t: TestContext): Promise<Shared> {
  const home = await gpgHome(t)
  const folder = await temporaryFolder(t)
  const { config, passphrase } = newSecret()
  // A folder is needed only for what is large.
  const cipher = await openCipher({ config, folder: join(folder, 'made', 'later'), log: silentLog })
  assert.ok(cipher)
  const work = await temporaryFolder(t)
  const encrypt = async (content: Buffer, ...options: string[]): Promise<Buffer> => {
    const [from, to] = [join(work, 'clear'), join(work, `secret-${randomBytes(4).toString('hex')}`)]
    await writeFile(from, content)
    const how = options.length > 0 ? options : ['--symmetric', '--force-mdc', '--no-textmode']
    await home.gpg('--pinentry-mode', 'loopback', '--passphrase', passphrase, '-o', to, ...how, from)
    return readFile(to)
  }
  return { home, cipher, folder, encrypt }
}

async function* stream(bytes: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
}

async function decrypt(cipher: Cipher, message: Buffer, size: number, signal = soon()): Promise<Buffer> {
  const plaintext = await cipher.decrypt(stream(message), { size, most: size, urgency: () => 'read', signal })
  try {
    const parts: Uint8Array[] = []
    for await (const part of plaintext.read({ start: 0, end: plaintext.size }, signal)) parts.push(part)
    return Buffer.concat(parts)
  } finally {
    await plaintext.close()
  }
}

test('the MAC of a name is that of git-annex, in both locales', () => {
  assert.equal(hmac('foo', 'bar'), '46b4ec586117154dacd49d664e5d63fdc88efb51')
  assert.deepEqual(
    encryptedNames(keyOf('bar--'), 'HMACSHA1', Buffer.from('foo')).map(({ raw }) => raw),
    [`GPGHMACSHA1--${hmac('foo', 'bar--')}`],
  )
  const names = encryptedNames(keyOf('SHA256E-s1--x.\xc3\xa9'), 'HMACSHA1', Buffer.from('foo'))
  assert.equal(names.length, 2)
  assert.equal(names[0]?.raw, `GPGHMACSHA1--${hmac('foo', 'SHA256E-s1--x.é')}`)
  const mapped = Buffer.from([...Buffer.from('SHA256E-s1--x.'), 0xed, 0xb3, 0x83, 0xed, 0xb2, 0xa9])
  assert.equal(names[1]?.raw, `GPGHMACSHA1--${hmac('foo', mapped)}`)
  assert.equal(encryptedNames(keyOf('SHA256E-s1--x.\xe9'), 'HMACSHA512', Buffer.from('foo')).length, 1)
})

function hmac(secret: string, text: string | Buffer): string {
  // RFC 2104, for keys shorter than a block of SHA-1.
  const block = Buffer.alloc(64)
  block.write(secret)
  const padded = (byte: number): Buffer => Buffer.from(block.map((value) => value ^ byte))
  const inner = createHash('sha1').update(padded(0x36)).update(text).digest()
  return createHash('sha1').update(padded(0x5c)).update(inner).digest('hex')
}

test('settings that cannot work are refused, and say why', { timeout: 180_000 }, async (t) => {
  const folder = await temporaryFolder(t)
  const { config } = newSecret()
  const open = (changes: Record<string, string | undefined>): Promise<Cipher | undefined> => {
    const changed = new Map(config)
    for (const [name, value] of Object.entries(changes)) {
      if (value === undefined) changed.delete(name)
      else changed.set(name, value)
    }
    return openCipher({ config: changed, folder, log: silentLog })
  }
  assert.equal(await open({ encryption: 'none' }), undefined)
  assert.equal(await open({ encryption: undefined, cipher: undefined }), undefined)
  await assert.rejects(open({ encryption: 'rot13' }), { code: 'UNSUPPORTED' })
  await assert.rejects(open({ mac: 'HMACMD5' }), { code: 'UNSUPPORTED' })
  await assert.rejects(open({ cipher: undefined }), { code: 'INVALID' })
  await assert.rejects(open({ cipher: '%%%' }), { code: 'INVALID' })
  await assert.rejects(open({ cipher: 'c2hvcnQ=' }), { code: 'INVALID' })
  await assert.rejects(open({ encryption: 'hybrid' }), { code: 'CORRUPT' }, 'a secret in the clear is no message')
})

test(
  'goal 26: a tampered, cut, joined, unprotected or foreign object is an error without a byte',
  { timeout: 180_000 },
  async (t) => {
    const { cipher, encrypt, home } = await shared(t)
    const content = randomBytes(300_000)
    const good = await encrypt(content)
    assert.ok((await decrypt(cipher, good, content.length)).equals(content))
    const flipped = (at: number): Buffer => {
      const copy = Buffer.from(good)
      copy[at] = (copy[at] ?? 0) ^ 1
      return copy
    }
    const bad: Record<string, Buffer> = {
      'first byte': flipped(0),
      // A packet longer than its own, at whose end, by chance, a data packet seems to begin.
      'a false head': Buffer.concat([Buffer.from([0x8c, 3, 4, 9, 3]), good.subarray(15)]),
      salt: flipped(8),
      head: flipped(20),
      middle: flipped(150_000),
      end: flipped(good.length - 1),
      cut: good.subarray(0, 200_000),
      'cut at the last byte': good.subarray(0, -1),
      twice: Buffer.concat([good, good]),
      'more behind': Buffer.concat([good, Buffer.from('more')]),
      empty: Buffer.alloc(0),
      plain: content,
      'another passphrase': await encrypt(content, '--passphrase', 'x', '--symmetric'),
      'no integrity': await encrypt(content, '--symmetric', '--rfc2440', '--disable-mdc', '--cipher-algo', '3DES'),
      armored: await encrypt(content, '--symmetric', '--armor'),
      'to the public key of the user': await encrypt(content, '--trust-model', 'always', '-r', home.keyId, '--encrypt'),
      'signed only': await encrypt(content, '-u', home.keyId, '--sign'),
      longer: await encrypt(Buffer.concat([content, Buffer.from('x')])),
      shorter: await encrypt(content.subarray(1)),
    }
    for (const [what, message] of Object.entries(bad)) {
      await assert.rejects(decrypt(cipher, message, content.length), (error) => isAnnexfsError(error, 'CORRUPT'), what)
    }
  },
)

test(
  'goal 26: a message that unpacks to a gigabyte is stopped at the expected size',
  { timeout: 180_000 },
  async (t) => {
    const { cipher, encrypt } = await shared(t)
    const bomb = await encrypt(Buffer.alloc(400 * 1024 * 1024))
    assert.ok(bomb.length < 2 * 1024 * 1024, 'it is small')
    const before = process.memoryUsage().rss
    await assert.rejects(decrypt(cipher, bomb, 100_000), { code: 'CORRUPT' })
    assert.ok(process.memoryUsage().rss - before < 64 * 1024 * 1024)
  },
)

/** A program in gpg's place: notes how it was called, then does `then`. */
async function inPlaceOfGpg(
  t: TestContext,
  then: string,
): Promise<{ program: string; notes: () => Promise<string[]> }> {
  const folder = await temporaryFolder(t)
  const program = join(folder, 'gpg')
  const note = `tr '\\0' ' ' < /proc/$$/cmdline > ${folder}/note.$$; tr '\\0' '\\n' < /proc/$$/environ > ${folder}/env.$$`
  await writeFile(program, `#!/bin/sh\n${note}\n${then}\n`)
  await chmod(program, 0o700)
  const notes = async (): Promise<string[]> => {
    const names = (await readdir(folder)).filter((name) => name !== 'gpg')
    return Promise.all(names.map(async (name) => `${name}\n${await readFile(join(folder, name), 'utf8')}`))
  }
  return { program, notes }
}

async function encryptedWorld(
  t: TestContext,
  ...settings: string[]
): Promise<{ world: RemoteWorld; content: Buffer; key: Key }> {
  const world = await RemoteWorld.make(t)
  const content = randomBytes(700_000)
  await world.annex.addAnnexed('here', { 'f.bin': content })
  await world.initremote('d', ...settings)
  await world.copy('d', 'f.bin')
  return { world, content, key: await world.keyOf('f.bin') }
}

test(
  'one gpg reads an object for all of its pieces, and goal 43: no secret is in its arguments or environment',
  { timeout: 180_000 },
  async (t) => {
    const home = await gpgHome(t)
    for (const settings of [['encryption=shared'], ['encryption=hybrid', `keyid=${home.keyId}`]]) {
      const { world, content, key } = await encryptedWorld(t, ...settings)
      const { program, notes } = await inPlaceOfGpg(t, 'exec gpg "$@"')
      await world.annex.git('here', 'config', 'gpg.program', program)
      const annex = await world.open()
      const source = await world.source(annex, 'd', key)
      const holding = await source.find(spaceOf(content.length), soon())
      assert.ok(holding)
      assert.equal(holding.unit, content.length)
      const pieces = Array.from({ length: 7 }, (_, index) => ({ start: index * 100_000, end: (index + 1) * 100_000 }))
      const all = await Promise.all(pieces.map((piece) => readAll(holding, piece)))
      assert.ok(Buffer.concat(all).equals(content))
      for (const piece of pieces) await readAll(holding, piece)
      const said = await notes()
      const runs = said.filter((note) => note.startsWith('note')).length
      assert.equal(runs, settings.length, 'one for the object, one more for the secret of a hybrid cipher')
      const remote = (await annex.remotes()).find(({ name }) => name === 'd')
      assert.ok(remote)
      const cipher = Buffer.from(remote.config.get('cipher') ?? '', 'base64')
      const secrets = settings.length === 1 ? [cipher.toString('latin1').slice(256, 300)] : []
      for (const secret of [...secrets, remote.config.get('cipher') ?? '-']) {
        for (const note of said) assert.ok(!note.includes(secret))
      }
    }
  },
)

test('a gpg that hangs, and all that it started, is gone when the reader gives up', { timeout: 180_000 }, async (t) => {
  const { program, notes } = await inPlaceOfGpg(t, 'sleep 1000 & sleep 1000')
  const { config } = newSecret()
  const folder = await temporaryFolder(t)
  const cipher = await openCipher({ config, folder, log: silentLog, gpg: { program, decryptOptions: [] } })
  assert.ok(cipher)
  const { encrypt } = await shared(t)
  const message = await encrypt(randomBytes(1000))
  const stop = new AbortController()
  const reading = decrypt(cipher, message, 1000, stop.signal)
  let pid = NaN
  await until('it runs, with a child', async () => {
    pid = Number(/\d+/.exec((await notes()).find((note) => note.startsWith('note')) ?? '')?.[0])
    return (await groupOf(pid)).length >= 2
  })
  stop.abort()
  await assert.rejects(reading, { code: 'ABORTED' })
  await until('nothing of it is left', async () => (await groupOf(pid)).length === 0)
})

/** The living processes of a group. */
async function groupOf(group: number): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[2] === String(group) && fields[0] !== 'Z') found.push(Number(name))
  }
  return found
}

test("what hinders the user's gpg is said, with what to do, and tried again later", { timeout: 180_000 }, async (t) => {
  const home = await gpgHome(t)
  const locked = await home.newKey('locked', 'opensesame')
  await writeFile(join(home.folder, 'gpg.conf'), 'pinentry-mode loopback\npassphrase opensesame\n')
  const { world, key, content } = await encryptedWorld(t, 'encryption=hybrid', `keyid=${locked}`)
  await writeFile(join(home.folder, 'gpg.conf'), '')
  await writeFile(join(home.folder, 'gpg-agent.conf'), 'pinentry-program /bin/false\n')
  await home.endAgent()
  const annex = await world.open()
  const find = async (): Promise<unknown> => (await world.source(annex, 'd', key)).find(spaceOf(content.length), soon())
  await assert.rejects(find(), { code: 'UNAVAILABLE', message: /remote d .*No pinentry.*unlock it/ })
  await writeFile(join(home.folder, 'gpg-agent.conf'), '')
  await home.endAgent()
  await home.gpg('--yes', '--delete-secret-keys', locked)
  await assert.rejects(find(), { code: 'UNAVAILABLE', message: /no secret key .*import the key/ })
  await world.annex.git('here', 'config', 'gpg.program', '/nonexistent/gpg')
  const other = await world.open()
  const remote = (await other.remotes()).find(({ name }) => name === 'd')
  assert.ok(remote)
  const options = { remote, annex: other, folder: await temporaryFolder(t), log: silentLog }
  const cipher = remoteCipher(options)
  await assert.rejects(cipher(), { code: 'SYSTEM', message: /install GnuPG/ })
  const started = performance.now()
  await assert.rejects(cipher(), { code: 'SYSTEM' })
  measured(t, 'remembered: told after', performance.now() - started, { mark: 1000, alarm: 20_000 })
})

test(
  'settings for gpg of a repository of another user are not used',
  { timeout: 180_000, skip: process.getuid?.() !== 0 },
  async (t) => {
    const { world } = await encryptedWorld(t, 'encryption=shared')
    await world.annex.git('here', 'config', 'gpg.program', '/tmp/evil')
    await world.annex.git('here', 'config', 'remote.d.annex-gnupg-decrypt-options', '--verbose  --homedir /x')
    const annex = await world.open()
    const remote = (await annex.remotes()).find(({ name }) => name === 'd')
    assert.ok(remote)
    assert.deepEqual(await gpgSettings(annex, remote, silentLog), {
      program: '/tmp/evil',
      decryptOptions: ['--verbose', '--homedir', '/x'],
    })
    await chown(join(world.annex.folder, 'here/.git/config'), 65534, 65534)
    assert.deepEqual(await gpgSettings(annex, remote, silentLog), { program: 'gpg', decryptOptions: [] })
  },
)

test('embedded credentials are read, encrypted and not', { timeout: 180_000 }, async (t) => {
  const { cipher, encrypt } = await shared(t)
  const clear = Buffer.from('AKID\nse/cret+\n')
  const given = { user: 'AKID', password: 'se/cret+' }
  const read = (stored: Buffer, with_: Cipher | undefined) =>
    decryptCreds({ text: stored.toString('base64'), cipher: with_, signal: soon() })
  assert.deepEqual(await read(clear, undefined), given)
  assert.deepEqual(await read(clear, cipher), given)
  assert.deepEqual(await read(await encrypt(clear), cipher), given)
  await assert.rejects(read(Buffer.from('nothing'), undefined), { code: 'INVALID' })
  const failure = await read((await encrypt(clear)).fill(0, 60, 70), cipher).catch((error: unknown) => reasonOf(error))
  assert.ok(typeof failure === 'string' && !failure.includes('cret'))
})

test(
  'goal 26: chunks that are swapped, missing or overlong in an encrypted store are an error',
  { timeout: 180_000 },
  async (t) => {
    const { world, content, key } = await encryptedWorld(t, 'encryption=shared', 'chunk=200KB')
    const annex = await world.open()
    const remote = (await annex.remotes()).find(({ name }) => name === 'd')
    const cipher = await openCipher({
      config: remote?.config ?? new Map(),
      folder: await temporaryFolder(t),
      log: silentLog,
    })
    assert.ok(cipher)
    const files = new Map<number, string>()
    for (const name of await readdir(world.folder('d'), { recursive: true })) {
      for (const number of [1, 2, 3, 4]) {
        const fields = {
          ...key,
          raw: key.raw.replace('--', `-S200000-C${number}--`),
          chunkSize: 200_000,
          chunkNumber: number,
        }
        const file = keyFile(cipher.nameOf(fields))
        if (name.endsWith(`${file}/${file}`)) files.set(number, join(world.folder('d'), name))
      }
    }
    assert.equal(files.size, 4)
    const path = (number: number): string => files.get(number) ?? ''
    const whole = { start: 0, end: content.length }
    const read = async (): Promise<Buffer> => {
      const source = await world.source(annex, 'd', key)
      const holding = await source.find(spaceOf(content.length), soon())
      assert.ok(holding)
      return readAll(holding, whole)
    }
    const originals = await Promise.all([1, 2, 3, 4].map((number) => readFile(path(number))))
    const put = async (number: number, bytes: Buffer | undefined): Promise<void> => {
      await world.annex.run('.', 'chmod', ['-R', 'u+w', world.folder('d')])
      if (bytes === undefined) await world.annex.run('.', 'rm', ['-f', path(number)])
      else await writeFile(path(number), bytes)
    }
    const [first, second, , last] = originals
    assert.ok((await read()).equals(content))
    await put(2, last)
    await assert.rejects(read(), { code: 'CORRUPT' }, 'of another length')
    await put(2, undefined)
    await assert.rejects(read(), { code: 'UNAVAILABLE' }, 'missing')
    await put(2, Buffer.concat([second ?? Buffer.alloc(0), Buffer.alloc(2_000_000)]))
    await assert.rejects(read(), { code: 'CORRUPT' }, 'overlong')
    await put(2, first)
    const hash = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
    assert.notEqual(hash(await read()), key.name.split('.')[0], 'of the same length: only the hash of the key tells')
    await put(2, second)
    assert.equal(hash(await read()), key.name.split('.')[0])
  },
)

test('memory stays bounded for a large object, and it is decrypted once', { timeout: 180_000 }, async (t) => {
  const { cipher, encrypt, folder } = await shared(t)
  const size = 200 * 1024 * 1024
  const content = Buffer.alloc(size)
  for (let at = 0; at < size; at += 1024) content.writeUInt32LE(at, at)
  const message = await encrypt(content)
  const before = process.memoryUsage().rss
  const plaintext = await cipher.decrypt(stream(message), { size, most: size, urgency: () => 'read', signal: soon() })
  assert.equal(plaintext.memory, 0)
  assert.deepEqual(await readdir(join(folder, 'made', 'later')), [], 'its file has no name')
  for (let at = 0; at < size; at += 10 * 1024 * 1024) {
    for await (const part of plaintext.read({ start: at, end: at + 131_072 }, soon())) {
      assert.ok(content.subarray(at, at + part.byteLength).equals(part))
    }
  }
  assert.ok(process.memoryUsage().rss - before < 96 * 1024 * 1024, `${process.memoryUsage().rss - before}`)
  await plaintext.close()
})
