/** Of our own environment: secrets that are for other programs. */
const SECRETS = /^(?:AWS_.*|WEBDAV_.*|RSYNC_PASSWORD|GLACIER_.*|ANNEXFS_.*)$/

/** The environment of a program of the user's that is no remote's own: the user's, but for secrets of other programs. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !SECRETS.test(name)))
}
