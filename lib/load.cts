import fs = require('node:fs')
import modules = require('node:module')
import path = require('node:path')
import url = require('node:url')
import vm = require('node:vm')

const FOLDER = path.join(__dirname, '..', 'bundle')

type Program = (require: NodeJS.Require, module: { exports: unknown }, exports: unknown, filename: string) => void

/**
 * Runs the program `name` of `dist/bundle`, or the module `instead` where that was not made. Beside the program lies what V8
 * made of it while it was rehearsed (`cmd/code-cache.mjs`), which saves a third of a start. V8 takes it only if it is of
 * the same version, and the name of both says which text it was made of.
 * @returns the script; undefined for modules.
 */
function load(name: string, instead: string): vm.Script | undefined {
  const file = find(name)
  if (file === undefined) {
    void import(url.pathToFileURL(instead).href)
    return undefined
  }
  const cachedData = compiled(file)
  // All of it is ASCII.
  const script = new vm.Script(fs.readFileSync(file, 'latin1'), {
    filename: file,
    ...(cachedData !== undefined && { cachedData }),
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  })
  const module = { exports: {} }
  const program = script.runInThisContext() as Program
  program(modules.createRequire(file), module, module.exports, file)
  return script
}

function find(name: string): string | undefined {
  try {
    const found = fs.readdirSync(FOLDER).find((one) => one.startsWith(`${name}-`) && one.endsWith('.cjs'))
    return found === undefined ? undefined : path.join(FOLDER, found)
  } catch {
    // Nothing was joined: esbuild is not there for each machine.
    return undefined
  }
}

function compiled(file: string): Buffer | undefined {
  try {
    return fs.readFileSync(file.replace(/\.cjs$/, '.cache'))
  } catch {
    // It will be compiled, which takes longer.
    return undefined
  }
}

export = load
