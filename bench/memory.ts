import { readdirSync, readFileSync } from 'node:fs'
import type { Bytes } from '../lib/space/space.js'

const INTERVAL = 250

/** Watches the peak memory (VmHWM, proc(5)) of a process and all its descendants. */
export function watchMemory(pid: number): { peak(): Bytes; stop(): void } {
  let most = 0
  const look = (): void => {
    let sum = 0
    for (const one of family(pid)) sum += peakOf(one)
    most = Math.max(most, sum)
  }
  const timer = setInterval(look, INTERVAL)
  timer.unref()
  return {
    peak: () => {
      look()
      return most
    },
    stop: () => clearInterval(timer),
  }
}

function family(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const parent = Number(/^.*\) \S (\d+)/s.exec(text(`/proc/${name}/stat`))?.[1] ?? 0)
    children.set(parent, [...(children.get(parent) ?? []), Number(name)])
  }
  const found = [root]
  for (const pid of found) found.push(...(children.get(pid) ?? []))
  return found
}

function peakOf(pid: number): Bytes {
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(text(`/proc/${pid}/status`))?.[1] ?? 0) * 1024
}

function text(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    // It has just ended.
    return ''
  }
}
