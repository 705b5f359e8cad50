import { GATEWAY_OPTIONS, LISTEN_OPTION } from './gateway-options.js'
import { SOURCE_OPTIONS } from './options.js'

/*
 * mount(8) calls helpers as `mount.TYPE SPEC DIR [-sfnv] [-N namespace] [-o options] [-t type.subtype]`. Our long options
 * are written in -o without the dashes (`cache-size=1GiB,allow_other,ref=v1`); several SOURCEs in SPEC are separated by
 * spaces (`\040` in fstab).
 */

/** Options of mount(8) and fstab that concern others, or say what we do anyway. */
const IGNORED =
  /^(ro|rw|defaults|auto|noauto|user|nouser|users|owner|group|exec|noexec|suid|nosuid|dev|nodev|_netdev|nofail|async|sync|atime|noatime|relatime|x-.*|comment=.*|X-.*)$/

const OPTIONS = [...SOURCE_OPTIONS, LISTEN_OPTION, ...GATEWAY_OPTIONS]
const SWITCHES = new Set([...OPTIONS.filter((one) => one.value === undefined).map((one) => one.name), 'allow-other'])
const VALUES = new Set(OPTIONS.filter((one) => one.value !== undefined).map((one) => one.name))

/** The arguments of `annexfs mount` for those of mount(8); a string says what is wrong. */
export function mountArguments(argv: readonly string[]): readonly string[] | string {
  const places: string[] = []
  const options: string[] = []
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] ?? ''
    if (argument === '-o') options.push(...(argv[++i] ?? '').split(','))
    else if (argument === '-t' || argument === '-N') i += 1
    else if (/^-[sfnvw]+$/.test(argument)) continue
    else places.push(argument)
  }
  const [spec, mountpoint, ...rest] = places
  if (spec === undefined || mountpoint === undefined || rest.length > 0)
    return 'mount.annexfs wants SOURCE and MOUNTPOINT'
  const own: string[] = []
  for (const option of options) {
    if (option === '' || IGNORED.test(option)) continue
    const [name = '', ...value] = option.split('=')
    const long = name.replaceAll('_', '-')
    if (VALUES.has(long) && value.length > 0) own.push(`--${long}=${value.join('=')}`)
    else if (SWITCHES.has(long) && value.length === 0) own.push(`--${long}`)
    else return `there is no mount option ${JSON.stringify(option)}; see annexfs mount --help`
  }
  const sources = spec.split(/(?<!\\) /).map((source) => source.replaceAll('\\ ', ' '))
  return [...own, '--', ...sources, mountpoint]
}
