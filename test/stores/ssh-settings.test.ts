import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmod, chown, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { isAnnexfsError, isLasting } from '../../lib/errors.js'
import { gitSshStore } from '../../lib/stores/git-ssh.js'
import { isSshUrl, parseSshUrl, pathAtHost } from '../../lib/stores/ssh-address.js'
import { shellQuote, splitWords, sshSettings } from '../../lib/stores/ssh-program.js'
import { processesOf } from '../support/sshd.js'
import { bytesOf, contextOf, environment, gitBehindSsh, named, type GitSshSetup } from './ssh-world.js'

const soon = (): AbortSignal => AbortSignal.timeout(60_000)

test('addresses are understood as git understands them', () => {
  const table: readonly (readonly [string, string, number | undefined, string])[] = [
    ['ssh://h/p', 'h', undefined, '/p'],
    ['ssh://me@h:22/p%20q', 'me@h', 22, '/p q'],
    ['SSH://h/~/x', 'h', undefined, '/~/x'],
    ['ssh://[::1]:2200/p', '::1', 2200, '/p'],
    ['git+ssh://h/p', 'h', undefined, '/p'],
    ['h:p', 'h', undefined, '/~/p'],
    ['me@h:/p', 'me@h', undefined, '/p'],
    ['h:~other/p', 'h', undefined, '/~other/p'],
    ['h:~/p', 'h', undefined, '/~/p'],
    ['[::1]:/p', '::1', undefined, '/p'],
    ['me@[h:2200]:p', 'me@h', 2200, '/~/p'],
  ]
  for (const [url, destination, port, path] of table) {
    assert.ok(isSshUrl(url), url)
    const parsed = parseSshUrl(url)
    const { user, host } = parsed
    assert.deepEqual(
      [user === undefined ? host : `${user}@${host}`, parsed.port, parsed.path],
      [destination, port, path],
    )
  }
  for (const url of ['/p', 'p/q:r', 'http://h/p', 'https://h/p', 'file:///p', 'rsync://h/p', 'h::m/p', './h:p']) {
    assert.equal(isSshUrl(url), false, url)
  }
  assert.equal(pathAtHost(parseSshUrl('h:a/b')), 'a/b')
  assert.equal(pathAtHost(parseSshUrl('ssh://h/a/b')), '/a/b')
  assert.throws(
    () => pathAtHost(parseSshUrl('h:~other/p')),
    (error) => isAnnexfsError(error, 'UNSUPPORTED'),
  )
})

test('goal 38: addresses that a program could take for an option or a command are refused', () => {
  for (const url of [
    'ssh://-oProxyCommand=touch%20x/p',
    'ssh://-oProxyCommand=x@h/p',
    'ssh://%2doProxyCommand=x@h/p',
    '-oProxyCommand=x:p',
    'h:-x',
    'ssh://h',
    'ssh://h:0/p',
    'ssh://h:99999/p',
    'ssh:///p',
    'ssh://$(id)/p',
    'ssh://h;id/p',
    'ssh://`id`@h/p',
    "me'@h:/p",
    'a b:/p',
    'ssh://me:secret@h/p',
    'ssh://h/p%0aq',
    'ssh://h/p%00q',
    'ssh://h/%zz',
    `ssh://h/${'x'.repeat(5000)}`,
  ]) {
    assert.throws(
      () => parseSshUrl(url),
      (error) => isAnnexfsError(error, 'INVALID') && !error.message.includes('\n'),
      url,
    )
  }
})

test("words are split as a shell splits them, and quoted so that it doesn't", () => {
  assert.deepEqual(splitWords(` -i 'a b' -o "User=x \\"y\\"" c\\ d e'f'"g" $(id) `), [
    '-i',
    'a b',
    '-o',
    'User=x "y"',
    'c d',
    'efg',
    '$(id)',
  ])
  assert.equal(shellQuote("a'b"), `'a'"'"'b'`)
})

async function works({ keys, files }: GitSshSetup, store: Awaited<ReturnType<typeof gitSshStore>>): Promise<void> {
  const key = keys.get('some.bin')
  assert.ok(key)
  try {
    const object = await store.open(named(key), soon())
    assert.ok(object)
    assert.ok((await bytesOf(object, { start: 0, end: 100_003 })).equals(files['some.bin'] ?? Buffer.alloc(0)))
  } finally {
    await store.close()
  }
}

test('the ssh program is the one that git would use', { timeout: 180_000 }, async (t) => {
  const setup = await gitBehindSsh(t)
  const { world, sshd } = setup
  const wrapper = join(sshd.folder, "own 'ssh'")
  await writeFile(wrapper, `#!/bin/sh\necho "$0" >> ${sshd.folder}/used\nexec ${sshd.command} "$@"\n`)
  await chmod(wrapper, 0o755)
  const used = async (): Promise<number> =>
    (await readFile(join(sshd.folder, 'used'), 'utf8').catch(() => '')).split('\n').length - 1
  environment(t, { GIT_SSH_COMMAND: undefined, GIT_SSH: wrapper })
  await works(setup, await gitSshStore(await contextOf(t, world, 'here', 'origin')))
  const first = await used()
  assert.ok(first > 0)
  environment(t, { GIT_SSH: '/nowhere/ssh' })
  await world.git('here', 'config', 'core.sshCommand', shellQuote(wrapper))
  await works(setup, await gitSshStore(await contextOf(t, world, 'here', 'origin')))
  const second = await used()
  assert.ok(second > first)
  environment(t, { GIT_SSH_COMMAND: sshd.command })
  await works(setup, await gitSshStore(await contextOf(t, world, 'here', 'origin')))
  assert.equal(await used(), second)
})

test('annex-ssh-options, annex-shell and annex.sshcaching are honoured', { timeout: 180_000 }, async (t) => {
  const setup = await gitBehindSsh(t)
  const { world, sshd } = setup
  environment(t, { GIT_SSH_COMMAND: 'ssh' })
  await world.git('here', 'config', 'remote.origin.annex-ssh-options', `-F '${sshd.folder}/ssh_config'`)
  await world.git('here', 'config', 'remote.origin.annex-shell', 'env ANNEXFS=1 git-annex-shell')
  await world.git('here', 'config', 'annex.sshcaching', 'false')
  const context = await contextOf(t, world, 'here', 'origin')
  await works(setup, await gitSshStore(context))
  assert.deepEqual(await readdir(context.folder).catch(() => []), [])
})

test('goal 38: options for ssh are not taken from the git-annex branch', { timeout: 180_000 }, async (t) => {
  const { world } = await gitBehindSsh(t)
  const context = await contextOf(t, world, 'here', 'origin')
  const hostile = ['annex-ssh-options', 'annex-shell', 'annex-rsync-transport'].map((name): [string, string] => [
    name,
    '-o X',
  ])
  const remote = { ...context.remote, config: new Map([...context.remote.config, ...hostile]) }
  const settings = await sshSettings({ ...context, remote })
  assert.deepEqual([settings.options, settings.annexShell, settings.transport], [[], 'git-annex-shell', []])
  await assert.rejects(gitSshStore({ ...context, remote: { ...remote, configured: false } }), (error) =>
    isAnnexfsError(error, 'FORBIDDEN'),
  )
})

test(
  "goal 38: programs that another user's repository names are not run",
  { timeout: 180_000, skip: process.getuid?.() !== 0 },
  async (t) => {
    const { world } = await gitBehindSsh(t)
    environment(t, { GIT_SSH_COMMAND: undefined, SUDO_UID: undefined })
    await world.git('here', 'config', 'core.sshCommand', 'touch /tmp/annexfs-owned; false')
    await world.git('here', 'config', 'remote.origin.annex-ssh-options', '-o ProxyCommand=false')
    await chown(join(world.folder, 'here/.git/config'), 54_321, 54_321)
    const settings = await sshSettings(await contextOf(t, world, 'here', 'origin'))
    assert.deepEqual([settings.program, settings.options], [{ file: 'ssh' }, []])
  },
)

test('goal 43: secrets for other programs do not reach ssh', { timeout: 180_000 }, async (t) => {
  const setup = await gitBehindSsh(t)
  const { world, sshd } = setup
  const spy = join(sshd.folder, 'spy')
  await writeFile(spy, `#!/bin/sh\nenv >> ${sshd.folder}/seen\nexec ${sshd.command} "$@"\n`)
  await chmod(spy, 0o755)
  environment(t, {
    GIT_SSH_COMMAND: spy,
    AWS_SECRET_ACCESS_KEY: 'canary',
    WEBDAV_PASSWORD: 'canary',
    RSYNC_PASSWORD: 'canary',
  })
  await works(setup, await gitSshStore(await contextOf(t, world, 'here', 'origin')))
  assert.ok(!(await readFile(join(sshd.folder, 'seen'), 'utf8')).includes('canary'))
})

test('a cache folder too long for a socket gets one elsewhere, private', { timeout: 180_000 }, async (t) => {
  const setup = await gitBehindSsh(t)
  const context = await contextOf(t, setup.world, 'here', 'origin')
  const store = await gitSshStore({ ...context, folder: join(context.folder, 'x'.repeat(100)) })
  await works(setup, store)
  assert.deepEqual(await processesOf('annexfs-ssh-'), [])
})

test('what went wrong is said in words', { timeout: 180_000 }, async (t) => {
  const cases: readonly (readonly [string, Parameters<typeof gitBehindSsh>[1], RegExp, ((url: string) => string)?])[] =
    [
      [
        'another host key',
        { known: 'other' },
        /key of the host is not known or has changed\. Connect once with "ssh -p \d+ /,
      ],
      ['an unknown host key', { known: 'nothing' }, /key of the host is not known or has changed/],
      [
        'a key that is not accepted',
        { accepted: false },
        /no key was accepted, and passwords are not asked for\. Make "ssh -p \d+ /,
      ],
      ['no server', {}, /cannot be reached/, (url) => url.replace(/:\d+/, ':1')],
      ['no repository', {}, /no repository at that path/, (url) => `${url}/nowhere`],
      ['no such host', {}, /host name is not known/, (url) => url.replace(/@[^:]+/, '@nowhere.invalid')],
    ]
  for (const [name, options, message, change] of cases) {
    await t.test(name, async (t) => {
      const { world, keys } = await gitBehindSsh(t, options)
      if (change !== undefined) {
        const url = await world.git('here', 'config', 'remote.origin.url')
        await world.git('here', 'config', 'remote.origin.url', change(url))
      }
      const store = await gitSshStore(await contextOf(t, world, 'here', 'origin'))
      t.after(() => store.close())
      const key = keys.get('one.bin')
      assert.ok(key)
      await assert.rejects(store.open(named(key), soon()), (error) => {
        assert.ok(isAnnexfsError(error, 'UNAVAILABLE'), String(error))
        assert.match(error.message, message)
        // Only a server that is not there may be there in a moment.
        assert.equal(isLasting(error), name !== 'no server')
        return true
      })
    })
  }
  for (const programs of [{}, { 'git-annex-shell': '#!/bin/sh\nexit 127\n' }]) {
    await t.test('another repository', async (t) => {
      const { world, keys } = await gitBehindSsh(t, { programs })
      await world.git('here', 'config', 'remote.origin.annex-uuid', '11111111-2222-3333-4444-555555555555')
      const store = await gitSshStore(await contextOf(t, world, 'here', 'origin'))
      t.after(() => store.close())
      const key = keys.get('one.bin')
      assert.ok(key)
      await assert.rejects(store.open(named(key), soon()), (error) => {
        assert.ok(isAnnexfsError(error, 'UNAVAILABLE'), String(error))
        assert.match(error.message, /another repository is there|is .* now, not/)
        return true
      })
    })
  }
})

const hasPlink = ['plink', 'puttygen'].every((program) => spawnSync(program, ['--version']).error === undefined)
const NO_PLINK = hasPlink ? false : 'NO PLINK: install putty-tools'

test("PuTTY's plink is used as ssh, with its own options", { timeout: 180_000, skip: NO_PLINK }, async (t) => {
  for (const [name, options] of [
    ['git-annex-shell', { sftp: false }],
    ['git-annex-shell and sftp', { sftp: true }],
    ['sftp', { sftp: true, programs: { 'git-annex-shell': '#!/bin/sh\nexit 127\n' } }],
    ['a shell', { sftp: false, programs: { 'git-annex-shell': '#!/bin/sh\nexit 127\n' } }],
  ] as const) {
    await t.test(name, async (t) => {
      const setup = await gitBehindSsh(t, options)
      const { world, sshd } = setup
      const key = join(sshd.folder, 'user.ppk')
      const print = async (program: string, ...args: string[]): Promise<string> =>
        (await world.run('.', program, args)).toString()
      await print('puttygen', join(sshd.folder, 'user'), '-O', 'private', '-o', key)
      const fingerprint = /SHA256:\S+/.exec(await print('ssh-keygen', '-lf', join(sshd.folder, 'host.pub')))?.[0]
      assert.ok(fingerprint !== undefined)
      // Which keeps its keys of hosts in the home folder: here they are given.
      environment(t, { GIT_SSH_COMMAND: undefined, HOME: world.folder })
      await world.git('here', 'config', 'core.sshCommand', 'plink')
      await world.git('here', 'config', 'remote.origin.annex-ssh-options', `-i '${key}' -hostkey ${fingerprint}`)
      await works(setup, await gitSshStore(await contextOf(t, world, 'here', 'origin')))
      await world.git('here', 'config', 'remote.origin.annex-ssh-options', `-i '${key}'`)
      const store = await gitSshStore(await contextOf(t, world, 'here', 'origin'))
      t.after(() => store.close())
      const some = setup.keys.get('some.bin')
      assert.ok(some)
      await assert.rejects(store.open(named(some), soon()), /the key of the host is not known/)
    })
  }
})
