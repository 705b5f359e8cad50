import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { gitAnnexStore } from '../../lib/stores/git-annex.js'
import { annexWorld } from '../support/annex.js'
import { objectName, readObject, remoteWorld, type RemoteWorld } from '../support/external/toy.js'

const LIMIT = { timeout: 180_000 }
const content = randomBytes(700_321)

/** A repository with the annexed file `f`, and in the PATH, also of this process, programs that stand for others. */
async function given(t: TestContext, programs: Readonly<Record<string, string>>): Promise<RemoteWorld> {
  const world = await annexWorld(t)
  const bin = join(world.folder, 'bin')
  await mkdir(bin)
  for (const [name, text] of Object.entries(programs)) {
    await writeFile(join(bin, name), `#!/bin/sh\necho "$@" >> ${world.folder}/asked\n${text}`)
    await chmod(join(bin, name), 0o755)
  }
  const own = {
    HOME: world.folder,
    GIT_CONFIG_GLOBAL: world.environment['GIT_CONFIG_GLOBAL'] ?? '',
    PATH: `${bin}:${process.env['PATH'] ?? ''}`,
    AWS_ACCESS_KEY_ID: 'key',
    AWS_SECRET_ACCESS_KEY: 'secret',
  }
  Object.assign(world.environment, own)
  for (const [name, value] of Object.entries(own)) {
    const before = process.env[name]
    process.env[name] = value
    t.after(() => {
      if (before === undefined) delete process.env[name]
      else process.env[name] = before
    })
  }
  await world.repository('repo')
  await world.addAnnexed('repo', { f: content })
  return remoteWorld(t, world)
}

async function readsFrom(t: TestContext, made: RemoteWorld, settings: readonly string[]): Promise<void> {
  const { world } = made
  await world.annex('repo', 'initremote', '--quiet', 'there', ...settings, 'encryption=none')
  await world.annex('repo', 'copy', '--quiet', '--to', 'there', 'f').catch(async (error: unknown) => {
    throw new Error(await readFile(join(world.folder, 'asked'), 'utf8'), { cause: error })
  })
  const store = await gitAnnexStore(await made.context('there'))
  t.after(() => store.close?.())
  const got = await readObject(store, objectName(made.key), [0, content.length])
  assert.ok(got.equals(content), await readFile(join(world.folder, 'asked'), 'utf8'))
}

test('an adb remote is read by git-annex and adb', LIMIT, async (t) => {
  const made = await given(t, {
    // adb(1), as far as git-annex uses it: the phone is a folder here.
    adb: `
if [ "$1" = devices ]; then printf 'List of devices attached\\nPHONE\\tdevice\\n'; exit; fi
if [ "$1" = -s ]; then shift 2; fi
what=$1; shift
case $what in
  shell) exec sh -c "$*" ;;
  push|pull) while [ "\${1#-}" != "$1" ]; do shift; done; exec cp "$1" "$2" ;;
esac
exit 1
`,
  })
  const phone = join(made.world.folder, 'phone')
  await mkdir(phone)
  await readsFrom(t, made, ['type=adb', `androiddirectory=${phone}`, 'androidserial=PHONE'])
})

test('a ddar remote is read by git-annex and ddar', LIMIT, async (t) => {
  const made = await given(t, {
    ddar: `
what=$1; shift
case $what in
  c) shift; name=$1; repo=$2; mkdir -p "$repo"; if [ $# -gt 2 ]; then cp "$3" "$repo/$name"; else cat > "$repo/$name"; fi ;;
  x) cat "$1/$3" ;;
  t) ls "$1" ;;
  d) rm -f "$1/$2" ;;
esac
`,
  })
  await readsFrom(t, made, ['type=ddar', `ddarrepo=${join(made.world.folder, 'ddared')}`])
})

test('a glacier remote is read by git-annex and glacier-cli; one that is not there yet says when', LIMIT, async (t) => {
  const made = await given(t, {
    glacier: `
cold="$HOME/cold"; mkdir -p "$cold"
while [ "\${1#-}" != "$1" ]; do shift; done
case "$1 $2" in
  "vault create") exit 0 ;;
  "archive upload") shift 2; while [ $# -gt 0 ]; do case $1 in --name) name=$2; shift ;; --name=*) name=\${1#--name=} ;; esac; shift; done; cat > "$cold/$name" ;;
  "archive checkpresent") for last; do :; done; if test -e "$cold/$last"; then echo "$last"; fi ;;
  "archive retrieve")
    for last; do :; done
    if [ -e "$HOME/frozen" ]; then echo "queued retrieval job for archive; try again in 4 hours" >&2; exit 1; fi
    cat "$cold/$last" ;;
  *) exit 1 ;;
esac
`,
  })
  await readsFrom(t, made, ['type=glacier', 'vault=v'])
  await writeFile(join(made.world.folder, 'frozen'), '')
  const store = await gitAnnexStore(await made.context('there'))
  t.after(() => store.close?.())
  await assert.rejects(readObject(store, objectName(made.key), [0, 1]), (error: Error) => {
    t.diagnostic(error.message)
    assert.match(error.message, /cannot be had from there: .*hours/)
    return true
  })
  await rm(join(made.world.folder, 'frozen'))
})

test('a tor remote without tor says so', LIMIT, async (t) => {
  const made = await given(t, {})
  const { world } = made
  await world.git('repo', 'remote', 'add', 'hidden', `tor-annex::${'a'.repeat(56)}.onion:4711`)
  await world.git('repo', 'config', 'remote.hidden.annex-uuid', '11111111-2222-3333-4444-555555555555')
  await world.annex('repo', 'setpresentkey', made.key.raw, '11111111-2222-3333-4444-555555555555', '1')
  const store = await gitAnnexStore(await made.context('hidden'))
  t.after(() => store.close?.())
  await assert.rejects(readObject(store, objectName(made.key), [0, 1]), (error: Error) => {
    assert.match(error.message, /cannot be had from hidden: Unable to connect to peer/)
    return true
  })
})
