import { setFlagsFromString } from 'node:v8'

/** V8's names of what compiles WebAssembly once more, with its optimizing compiler. */
const TIERS = ['wasm-dynamic-tiering', 'wasm-tier-up'] as const

/**
 * Until `restore` is called, WebAssembly that is made, and functions of it that run for the first time, stay with the code of
 * V8's baseline compiler.
 *
 * undici parses heads of answers with one large function. After a few heads V8 would compile it once more: that takes 35 MB of
 * memory for a moment, and a core for 60 ms or more, while the first reads wait. Bodies, which are nearly all that comes, go
 * through no such code.
 */
export function baselineWasm(): { restore(): void } {
  for (const tier of TIERS) setFlagsFromString(`--no-${tier}`)
  return {
    // They belong to what V8 compares when it loads code that was compiled beforehand.
    restore: () => {
      for (const tier of TIERS) setFlagsFromString(`--${tier}`)
    },
  }
}
