import { AnnexfsError } from '../lib/errors.js'

/** A path as given on the command line (`a/b`, `/a/b/`, `./a`) in the form that trees take: `/a/b`. */
export function normalPath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.includes('..')) throw new AnnexfsError('USAGE', `PATH ${JSON.stringify(path)} has a ".." in it`)
  return `/${parts.join('/')}`
}
