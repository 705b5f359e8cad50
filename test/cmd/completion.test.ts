import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { annexfs, homeOf, runProgram } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }

async function hasShell(shell: string): Promise<boolean> {
  return (await runProgram('sh', ['-c', `command -v ${shell}`])).code === 0
}

/** A folder with the script of the shell, and something to complete. */
async function world(t: TestContext, shell: string): Promise<{ folder: string; script: string }> {
  const folder = await temporaryFolder(t)
  const { code, stdout, stderr } = await annexfs(t, ['completion', shell])
  assert.equal(code, 0, stderr)
  assert.ok(stdout.length < 60_000, `${stdout.length} bytes are read whenever a shell is started`)
  const script = join(folder, `script.${shell}`)
  await writeFile(script, stdout)
  await mkdir(join(folder, 'space here'))
  await mkdir(join(folder, 'unique-folder'))
  await writeFile(join(folder, 'unique-file.torrent'), '')
  return { folder, script }
}

/**
 * What stands on the command line of an interactive shell on a terminal after `keys` were typed: `annexfs` is a function
 * there that prints its arguments between angle brackets.
 */
async function typed(
  t: TestContext,
  shell: readonly string[],
  folder: string,
  before: string,
  keys: readonly string[],
): Promise<string[]> {
  const child = spawn('script', ['-qec', `stty cols 200 rows 50; exec ${shell.join(' ')}`, '/dev/null'], {
    cwd: folder,
    env: { ...homeOf(folder), TERM: 'xterm' },
  })
  t.after(() => child.kill('SIGKILL'))
  let shown = ''
  child.stdout.on('data', (text: Buffer) => (shown += text.toString()))
  const seen = async (pattern: RegExp, count: number): Promise<void> => {
    for (let i = 0; i < 1_200 && (shown.match(pattern)?.length ?? 0) < count; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    assert.ok((shown.match(pattern)?.length ?? 0) >= count, JSON.stringify(shown))
  }
  const results: string[] = []
  child.stdin.write(`${before}\n`)
  child.stdin.write(`echo re''ady\n`)
  await seen(/^ready/gm, 1)
  for (const [index, one] of keys.entries()) {
    child.stdin.write(`annexfs ${one}`)
    // When the list or the word has come, and no more comes, the line is ended.
    for (let before = -1; before !== shown.length;) {
      before = shown.length
      await new Promise((resolve) => setTimeout(resolve, 700))
    }
    child.stdin.write('\n')
    await seen(/(?<=ARGS).*?(?=END)/g, index + 1)
    results.push(Array.from(shown.matchAll(/ARGS(.*?)END/g)).at(-1)?.[1] ?? '')
  }
  child.stdin.write('exit\n')
  child.stdin.end()
  await once(child, 'exit')
  return results
}

test('completion prints a script for each shell, and says which there are', LIMIT, async (t) => {
  for (const args of [[], ['csh'], ['bash', 'zsh']]) {
    const { code, stderr } = await annexfs(t, ['completion', ...args])
    assert.equal(code, 2)
    assert.match(stderr, /one of bash, zsh, fish/)
  }
})

test('bash completes commands, options, their values, and files', LIMIT, async (t) => {
  const { folder, script } = await world(t, 'bash')
  assert.equal((await runProgram('bash', ['-n', script])).stderr, '')
  const words = await typed(
    t,
    ['bash', '--norc', '--noprofile', '-i'],
    folder,
    `source '${script}'; annexfs() { printf ARG'S'; printf '<%s>' "$@"; echo EN'D'; }`,
    [
      'mou\t',
      'torrent cre\t',
      'mount --cache-s\t',
      'mount --verify str\t',
      'mount --verify=str\t',
      'torrent create --piece\t',
      'torrent info unique-f\ti\t',
      'mount --cache-dir unique-fo\t',
      'ls spa\t',
      'mount -- --cache-s\t',
      'completion f\t',
      'help unm\t',
    ],
  )
  assert.deepEqual(words, [
    '<mount>',
    '<torrent><create>',
    '<mount><--cache-size>',
    '<mount><--verify><strict>',
    '<mount><--verify=strict>',
    '<torrent><create><--piece-length>',
    '<torrent><info><unique-file.torrent>',
    '<mount><--cache-dir><unique-folder/>',
    '<ls><space here/>',
    '<mount><--><--cache-s>',
    '<completion><fish>',
    '<help><unmount>',
  ])
})

test('zsh completes commands, options, their values, and files', LIMIT, async (t) => {
  if (!(await hasShell('zsh'))) return t.skip('zsh is not installed')
  const { folder, script } = await world(t, 'zsh')
  const words = await typed(
    t,
    ['zsh', '-f', '-i'],
    folder,
    `PS1='> '; autoload -Uz compinit; compinit -u -D; source '${script}'; annexfs() { printf ARG'S'; printf '<%s>' "$@"; echo EN'D' }`,
    [
      'mou\t',
      'torrent cre\t',
      'mount --cache-s\t1GiB',
      'mount --verify str\t',
      'mount --verify=str\t',
      'torrent info unique-fi\t',
      'mount --cache-dir unique-\t',
      'completion f\t',
    ],
  )
  assert.deepEqual(words, [
    '<mount>',
    '<torrent><create>',
    '<mount><--cache-size=1GiB>',
    '<mount><--verify><strict>',
    '<mount><--verify=strict>',
    '<torrent><info><unique-file.torrent>',
    // zsh takes the slash away when the line is ended.
    '<mount><--cache-dir><unique-folder>',
    '<completion><fish>',
  ])
})

test('fish completes commands, options, their values, and files', LIMIT, async (t) => {
  if (!(await hasShell('fish'))) return t.skip('fish is not installed')
  const { folder, script } = await world(t, 'fish')
  const offered = async (line: string): Promise<string[]> => {
    const command = `source '${script}'; complete -C '${line}'`
    const result = await runProgram('fish', ['--no-config', '-c', command], { env: homeOf(folder), cwd: folder })
    assert.equal(result.stderr, '')
    return result.stdout
      .toString()
      .split('\n')
      .filter((one) => one !== '')
      .map((one) => one.split('\t')[0] ?? '')
      .sort()
  }
  assert.deepEqual(await offered('annexfs mou'), ['mount'])
  assert.deepEqual(await offered('annexfs torrent '), ['create', 'download', 'info', 'magnet'])
  assert.deepEqual(await offered('annexfs mount --cache-s'), ['--cache-size'])
  assert.deepEqual(await offered('annexfs mount --verify str'), ['strict'])
  assert.deepEqual(await offered('annexfs mount --verify=str'), ['--verify=strict'])
  assert.deepEqual(await offered('annexfs torrent create --piece'), ['--piece-length'])
  assert.deepEqual(await offered('annexfs torrent info unique-fi'), ['unique-file.torrent'])
  assert.deepEqual(await offered('annexfs mount --cache-dir unique-'), ['unique-folder/'])
  assert.deepEqual(await offered('annexfs completion f'), ['fish'])
  // Not those of another command, although its name is a word of the line.
  assert.deepEqual(await offered('annexfs ls mount --allow-o'), [])
})

test('every option of the help is offered, for every command', LIMIT, async (t) => {
  const bash = (await annexfs(t, ['completion', 'bash'])).stdout.toString()
  const fish = (await annexfs(t, ['completion', 'fish'])).stdout.toString()
  const zsh = (await annexfs(t, ['completion', 'zsh'])).stdout.toString()
  for (const command of [
    'mount',
    'serve',
    'ls',
    'cat',
    'cache',
    'manifest',
    'config',
    'torrent create',
    'torrent download',
  ]) {
    const help = (await annexfs(t, [...command.split(' '), '--help'])).stdout.toString()
    const options = Array.from(help.matchAll(/^ {2}(?:-\w, )?--([a-z][a-z-]*)/gm)).map((match) => match[1] ?? '')
    assert.ok(options.length > 1, help)
    const ofBash = new RegExp(`'${command}'\\) options='([^']*)'`).exec(bash)?.[1]?.split(' ') ?? []
    for (const option of options) {
      assert.ok(ofBash.includes(`--${option}`), `bash: ${command} --${option}`)
      assert.ok(fish.includes(`'__annexfs_in ${command}' -l ${option}`), `fish: ${command} --${option}`)
      assert.match(zsh, new RegExp(`--${option}[=[]`))
    }
  }
})
