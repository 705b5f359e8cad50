import type { Command } from './help.js'
import type { OptionSpec } from './options.js'

/*
 * Scripts for shells, made from the tables that parse the command line, so that they cannot fall behind it. Each says
 * all that there is; nothing of annexfs runs while the user types.
 */

const HELP: OptionSpec = { name: 'help', help: 'show help' }

/** A command without commands below it, and the words that name it. */
interface Leaf {
  readonly words: string
  readonly command: Command
  readonly options: readonly OptionSpec[]
}

function leaves(commands: readonly Command[]): readonly Leaf[] {
  return commands.flatMap((command) =>
    command.subcommands === undefined
      ? [{ words: command.name, command, options: [...command.options, HELP] }]
      : leaves(command.subcommands),
  )
}

function groups(commands: readonly Command[]): readonly (readonly [string, readonly Command[]])[] {
  return commands.flatMap((command) =>
    command.subcommands === undefined ? [] : [[command.name, command.subcommands] as const],
  )
}

/** Commands whose arguments are no files, with what they are for zsh. */
const NO_FILES: ReadonlyMap<string, string> = new Map([
  ['completion', '1:shell:(bash zsh fish)'],
  ['stop', '1:URL: '],
])

/** Short enough for a list on a narrow terminal. */
const LONGEST_HELP = 60

function shortHelp(text: string): string {
  const sentence = text.split(/[;(]/)[0]?.trim() ?? ''
  return sentence.length <= LONGEST_HELP ? sentence : `${sentence.slice(0, LONGEST_HELP - 1).trimEnd()}…`
}

function lastWord(command: Command): string {
  return command.name.slice(command.name.lastIndexOf(' ') + 1)
}

/** What to offer as the value of an option. */
function valueKind(spec: OptionSpec): 'none' | 'choices' | 'file' | 'folder' | 'text' {
  if (spec.value === undefined) return 'none'
  if (spec.choices !== undefined) return 'choices'
  if (spec.value === 'DIR') return 'folder'
  return ['FILE', 'OUT'].includes(spec.value) ? 'file' : 'text'
}

/** For bash 4 and later; needs nothing of the package bash-completion. */
export function bashCompletion(commands: readonly Command[]): string {
  const all = leaves(commands)
  const names = (list: readonly Command[]): string => list.map(lastWord).join(' ')
  const options = all.map(({ words, options: own }) => {
    const texts = own.flatMap((spec) => [`--${spec.name}`, ...(spec.short === undefined ? [] : [`-${spec.short}`])])
    return `    '${words}') options='${texts.join(' ')}' ;;`
  })
  const replies = new Map<string, string[]>()
  for (const { words, options: own } of all) {
    for (const spec of own) {
      const reply = bashReply(spec)
      if (reply === undefined) continue
      const patterns = replies.get(reply) ?? []
      patterns.push(`'${words} --${spec.name}'`)
      if (spec.short !== undefined) patterns.push(`'${words} -${spec.short}'`)
      replies.set(reply, patterns)
    }
  }
  const values = Array.from(replies, ([reply, patterns]) => {
    return `    ${patterns.join(' | ')})\n      ${reply}\n      return ;;`
  })
  const below = groups(commands).map(
    ([name, list]) => `    ${name})
      if ((COMP_CWORD == 2)); then
        COMPREPLY=($(compgen -W '${names(list)}' -- "$current"))
        return
      fi
      command="$command \${COMP_WORDS[2]}" ;;`,
  )
  return `# annexfs in bash; printed by: annexfs completion bash
_annexfs() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command=\${COMP_WORDS[1]} options=''
  # bash makes a word of each "=".
  if [[ $current == '=' ]]; then
    current=''
  elif [[ $previous == '=' ]]; then
    previous=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W '${names(commands)} help --help --version' -- "$current"))
    return
  fi
  case $command in
${[...below, `    help) ((COMP_CWORD > 2)) || COMPREPLY=($(compgen -W '${names(commands)}' -- "$current")); return ;;`, `    completion) ((COMP_CWORD > 2)) || COMPREPLY=($(compgen -W 'bash zsh fish' -- "$current")); return ;;`, `    stop) [[ $current == -* ]] || { compopt +o default +o bashdefault; return; } ;;`].join('\n')}
  esac
  local word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $word != -- ]] || return
  done
  case "$command $previous" in
${values.join('\n')}
  esac
  case $command in
${options.join('\n')}
  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$current"))
  fi
}
complete -o bashdefault -o default -F _annexfs annexfs
`
}

/** What completes the value of an option; undefined when it has none. */
function bashReply(spec: OptionSpec): string | undefined {
  switch (valueKind(spec)) {
    case 'none':
      return undefined
    case 'choices':
      return `COMPREPLY=($(compgen -W '${(spec.choices ?? []).join(' ')}' -- "$current"))`
    case 'folder':
      return 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current")'
    case 'file':
      return 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current")'
    case 'text':
      return 'compopt +o default +o bashdefault; COMPREPLY=()'
  }
}

/** For zsh with compinit. */
export function zshCompletion(commands: readonly Command[]): string {
  const described = (list: readonly Command[]): string =>
    list.map((one) => quoted(`${lastWord(one)}:${shortHelp(one.summary).replaceAll(':', '\\:')}`)).join(' ')
  const below = groups(commands).map(
    ([name, list]) => `    ${name})
      if (( CURRENT == 3 )); then
        names=(${described(list)})
        _describe command names
        return
      fi
      command="$command $words[3]"
      skip=2 ;;`,
  )
  const cases = leaves(commands).map(({ words, options }) => {
    const rest = NO_FILES.get(words) ?? '*:file:_files'
    const specs = [...options.flatMap(zshOption), quoted(rest)]
    return `    ${quoted(words)})\n      _arguments -S \\\n        ${specs.join(' \\\n        ')} ;;`
  })
  return `#compdef annexfs
# annexfs in zsh; printed by: annexfs completion zsh
_annexfs() {
  local -a names
  if (( CURRENT == 2 )); then
    names=(${described(commands)})
    _describe command names
    return
  fi
  local command=$words[2] skip=1
  case $command in
${below.join('\n')}
  esac
  shift $skip words
  (( CURRENT -= skip ))
  case $command in
    help) names=(${described(commands)}); _describe command names ;;
${cases.join('\n')}
  esac
}
if [[ $funcstack[1] == _annexfs ]]; then
  _annexfs "$@"
else
  compdef _annexfs annexfs
fi
`
}

function zshOption(spec: OptionSpec): string[] {
  const help = shortHelp(spec.help).replace(/[[\]:\\]/g, '\\$&')
  const kind = valueKind(spec)
  const action = {
    none: '',
    choices: `(${(spec.choices ?? []).join(' ')})`,
    file: '_files',
    folder: '_files -/',
    text: ' ',
  }[kind]
  const value = spec.value === undefined ? '' : `:${spec.value.replaceAll(':', '\\:')}:${action}`
  const many = spec.several === true ? '*' : ''
  const long = quoted(`${many}--${spec.name}${kind === 'none' ? '' : '='}[${help}]${value}`)
  return spec.short === undefined ? [long] : [long, quoted(`${many}-${spec.short}[${help}]${value}`)]
}

/** For fish 3.4 and later. */
export function fishCompletion(commands: readonly Command[]): string {
  const lines: string[] = []
  const name = (list: readonly Command[], at: string): void => {
    for (const one of list) {
      lines.push(
        `complete -c annexfs -n ${fish(`__annexfs_after ${at}`.trimEnd())} -f -a ${lastWord(one)} -d ${fish(shortHelp(one.summary))}`,
      )
    }
  }
  name(commands, '')
  for (const [group, list] of groups(commands)) name(list, group)
  lines.push(`complete -c annexfs -n '__annexfs_after completion' -f -a 'bash zsh fish'`)
  lines.push(`complete -c annexfs -n '__annexfs_after help' -f -a '${commands.map(lastWord).join(' ')}'`)
  for (const [words] of NO_FILES) lines.push(`complete -c annexfs -n '__annexfs_in ${words}' -f`)
  for (const { words, options } of leaves(commands)) {
    for (const spec of options) {
      const kind = valueKind(spec)
      const value = {
        none: '',
        choices: ` -x -a ${fish((spec.choices ?? []).join(' '))}`,
        file: ' -r -F',
        folder: ` -x -a '(__fish_complete_directories)'`,
        text: ' -x',
      }[kind]
      const short = spec.short === undefined ? '' : ` -s ${spec.short}`
      lines.push(
        `complete -c annexfs -n ${fish(`__annexfs_in ${words}`)} -l ${spec.name}${short}${value} -d ${fish(shortHelp(spec.help))}`,
      )
    }
  }
  return `# annexfs in fish; printed by: annexfs completion fish
function __annexfs_in
    set -l words (commandline -opc)
    set -e words[1]
    test (count $words) -ge (count $argv); or return 1
    set -q argv[1]; or return 0
    test "$words[1..$(count $argv)]" = "$argv"
end
function __annexfs_after
    set -l words (commandline -opc)
    test (count $words) -eq (math (count $argv) + 1); and __annexfs_in $argv
end
${lines.join('\n')}
`
}

/** In single quotes, for bash and zsh. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

function fish(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
