import { AnnexfsError } from '../errors.js'
import { printable } from '../log/log.js'

/** What one run of gpg said on its status descriptor (GnuPG's doc/DETAILS), and how it ended. */
export interface GpgOutcome {
  readonly status: string
  readonly complaints: string
  readonly exitCode: number | null
  /** Whether one of the user's keys was needed, which may be what was wrong. */
  readonly usesKeys: boolean
}

const LONGEST_COMPLAINT = 400

/** @throws AnnexfsError unless gpg decrypted one message to its end and found it intact. */
export function checkOutcome(outcome: GpgOutcome, program: string): void {
  const lines = outcome.status
    .split('\n')
    .filter((line) => line.startsWith('[GNUPG:] '))
    .map((line) => line.slice(9).trim().split(' '))
  const count = (word: string): number => lines.filter(([first]) => first === word).length
  const has = (word: string): boolean => count(word) > 0
  const failed = ['BADMDC', 'DECRYPTION_FAILED', 'NODATA', 'UNEXPECTED', 'BADARMOR'].find(has)
  // DECRYPTION_INFO: method of integrity protection, cipher, AEAD algorithm.
  const aead = lines.some((words) => words[0] === 'DECRYPTION_INFO' && Number(words[3] ?? 0) > 0)
  const intact = has('DECRYPTION_OKAY') && (has('GOODMDC') || aead)
  const single = count('BEGIN_DECRYPTION') === 1 && count('PLAINTEXT') === 1
  if (outcome.exitCode === 0 && failed === undefined && intact && single) return
  throw failureOf(outcome, has, failed, program)
}

function failureOf(
  outcome: GpgOutcome,
  has: (word: string) => boolean,
  failed: string | undefined,
  program: string,
): AnnexfsError {
  const said = summary(outcome.complaints)
  // The error of libgcrypt alone (of source 1, libgpg-error's err-sources.h): the session key itself is not intact.
  const decryptError = /^\[GNUPG:\] ERROR pkdecrypt_failed (\d+)/m.exec(outcome.status)?.[1]
  const isDamaged = decryptError !== undefined && Number(decryptError) >>> 24 === 1
  if (outcome.usesKeys && has('NO_SECKEY') && !has('DECRYPTION_INFO')) {
    return new AnnexfsError(
      'UNAVAILABLE',
      `${program} has no secret key for it (${said}): import the key, or plug in its card (gpg --card-status); ` +
        'gpg --list-secret-keys shows what there is',
    )
  }
  if (outcome.usesKeys && !has('DECRYPTION_INFO') && !isDamaged) {
    return new AnnexfsError(
      'UNAVAILABLE',
      `${program} could not use the secret key (${said}): unlock it by decrypting something by hand ` +
        '(gpg --decrypt), and see that gpg-agent and pinentry work (gpgconf --check-programs)',
    )
  }
  const why = failed === undefined ? 'it is not one intact message' : failed
  return new AnnexfsError(
    'CORRUPT',
    `the object does not decrypt: it was damaged, tampered with, or encrypted otherwise (${why}: ${said})`,
  )
}

function summary(complaints: string): string {
  const lines = complaints.split('\n').filter((line) => /^gpg: (?!encrypted with)/.test(line))
  const text = printable(lines.map((line) => line.slice(5).trim()).join('; '))
  if (text === '') return 'gpg said nothing'
  return text.length > LONGEST_COMPLAINT ? `…${text.slice(-LONGEST_COMPLAINT)}` : text
}
