import { freemem } from 'node:os'
import { runProgram } from './lab.js'
import type { Bytes } from '../lib/space/space.js'

const MIB = 1024 * 1024
const STEP: Bytes = 256 * MIB

/**
 * Uses so much memory once, in a process that ends. On a virtual machine the first use of a page since the host took it
 * back costs several times what copying into it does: whoever is measured first would pay for those who come after.
 */
export async function backMemory(bytes: Bytes): Promise<void> {
  const steps = Math.floor(Math.min(bytes, freemem() / 2) / STEP)
  const program = `const held = []; for (let n = 0; n < ${steps}; n++) held.push(Buffer.alloc(${STEP}, 1))`
  await runProgram(process.execPath, ['-e', program])
}

/** Contestants take turns also in who comes first. */
export function inTurn<T>(contestants: readonly T[], turn: number): T[] {
  const first = turn % Math.max(1, contestants.length)
  return [...contestants.slice(first), ...contestants.slice(0, first)]
}
