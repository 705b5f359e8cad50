import assert from 'node:assert/strict'
import { mkdir, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { annexWorld } from '../support/annex.js'
import { mountSession, runProgram, type CommandResult } from '../support/session.js'

const MIB = 1024 * 1024

export interface FioSet {
  readonly repository: string
  /** Of all files together. */
  readonly size: number
  readonly files: readonly string[]
}

/** The four ways in which fio reads. */
export const ENGINES: readonly (readonly string[])[] = [
  ['--ioengine=psync'],
  ['--ioengine=mmap'],
  ['--ioengine=libaio', '--direct=1', '--iodepth=8'],
  ['--ioengine=splice'],
]

const JOB = [
  '--name=job',
  '--verify_state_save=0',
  '--bs=64k',
  '--verify=crc32c',
  '--verify_fatal=1',
  '--randseed=1',
  '--nrfiles=1',
]

/**
 * Files that fio has written with a checksum in each block, annexed and only at a directory remote.
 * @param damage flips a bit of this file in the middle, before it is annexed.
 */
export async function fioSet(
  t: TestContext,
  options: { files: number; sizeMiB: number; damage?: number },
): Promise<FioSet> {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await mkdir(join(world.folder, 'shelf'))
  const files = Array.from({ length: options.files }, (_, index) => `set${index}`)
  for (const file of files) {
    const args = [...JOB, '--rw=write', '--do_verify=0', `--size=${options.sizeMiB}m`]
    const result = await runProgram('fio', [...args, `--filename=${join(repository, file)}`])
    assert.equal(result.code, 0, result.stderr)
  }
  if (options.damage !== undefined) {
    const file = await open(join(repository, `set${options.damage}`), 'r+')
    const byte = Buffer.alloc(1)
    const middle = (options.sizeMiB / 2) * MIB + 12_345
    await file.read(byte, 0, 1, middle)
    byte[0] = (byte[0] ?? 0) ^ 1
    await file.write(byte, 0, 1, middle)
    await file.close()
  }
  await world.annex('a', 'add', '--quiet', '.')
  await world.git('a', 'commit', '--quiet', '-m', 'set')
  await world.annex('a', 'initremote', '--quiet', 's', 'type=directory', 'directory=../shelf', 'encryption=none')
  await world.annex('a', 'move', '--quiet', '--to', 's', '.')
  return { repository, files, size: options.files * options.sizeMiB * MIB }
}

/** Has fio verify every block of every file below `folder`, one job for each file at the same time. */
export async function fioVerify(
  set: FioSet,
  folder: string,
  engine: readonly string[],
  rw: 'read' | 'randread',
): Promise<CommandResult> {
  assert.deepEqual((await readdir(folder)).sort(), [...set.files].sort())
  const each = set.size / set.files.length / MIB
  const global = ['--readonly', `--rw=${rw}`, `--size=${each}m`, '--bs=64k', '--randseed=1', ...engine]
  const checks = ['--verify_state_save=0', '--verify=crc32c', '--verify_fatal=1', '--invalidate=1']
  const jobs = set.files.flatMap((file) => [`--name=${file}`, ...global, ...checks, `--filename=${join(folder, file)}`])
  return runProgram('fio', jobs, { timeout: 300_000 })
}

/** Verifies a set through mounts with a large and a small cache, cold and warm, by every engine. */
export async function verifyByAllEngines(t: TestContext, set: FioSet): Promise<void> {
  for (const cacheMiB of [10_240, Math.ceil(set.size / 10 / MIB)]) {
    for (const [index, engine] of ENGINES.entries()) {
      const mount = await mountSession(t, [set.repository], { options: ['--cache-size', `${cacheMiB}MiB`] })
      for (const rw of index % 2 === 0 ? (['read', 'randread'] as const) : (['randread', 'read'] as const)) {
        const { code, stdout, stderr } = await fioVerify(set, mount.path, engine, rw)
        assert.equal(
          code,
          0,
          `${engine[0]} ${rw}, cache of ${cacheMiB} MiB: ${stderr}${stdout.toString()}${mount.log()}`,
        )
      }
      assert.equal(await mount.stop(), 0)
    }
  }
}
