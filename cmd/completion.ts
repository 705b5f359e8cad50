import { AnnexfsError } from '../lib/errors.js'
import { bashCompletion, fishCompletion, zshCompletion } from './completion-scripts.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'

const SHELLS: ReadonlyMap<string, (commands: readonly Command[]) => string> = new Map([
  ['bash', bashCompletion],
  ['zsh', zshCompletion],
  ['fish', fishCompletion],
])

/** `annexfs completion bash|zsh|fish` */
export function completionCommand(commands: () => readonly Command[]): Command {
  return {
    name: 'completion',
    summary: 'print a script that completes annexfs commands in a shell',
    usage: ['bash|zsh|fish'],
    description:
      'Prints the script of a shell. To have it from now on, add one line: to ~/.bashrc: source <(annexfs completion ' +
      'bash); to ~/.zshrc, after compinit: source <(annexfs completion zsh); to ~/.config/fish/config.fish: annexfs ' +
      'completion fish | source',
    options: [],
    run(given) {
      const [shell, ...rest] = given.positional
      const script = SHELLS.get(shell ?? '')
      if (script === undefined || rest.length > 0) {
        throw new AnnexfsError('USAGE', `completion wants one of ${[...SHELLS.keys()].join(', ')}`)
      }
      process.stdout.write(script(commands()))
      return Promise.resolve(EXIT.ok)
    },
  }
}
