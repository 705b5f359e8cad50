// What the tests need beside what annexfs needs: real clients, servers and tools, from Debian.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { hasProgram, setup } from '../cmd/setup.mjs'

/** Debian packages, each with the programs (or files) that show that it is there. */
const PACKAGES = {
  'git-annex': ['git-annex'],
  python3: ['python3'],
  'python3-libtorrent': ['/usr/share/doc/python3-libtorrent'],
  'transmission-daemon': ['transmission-daemon'],
  'transmission-cli': ['transmission-cli'],
  'nginx-light': ['nginx'],
  fio: ['fio'],
  'openssh-server': ['sshd'],
  'putty-tools': ['plink', 'puttygen'],
  rsync: ['rsync'],
  gnupg: ['gpg'],
  aria2: ['aria2c'],
  mktorrent: ['mktorrent'],
  attr: ['getfattr'],
  e2fsprogs: ['mkfs.ext4'],
  'util-linux': ['unshare', 'setpriv'],
  procps: ['ps'],
  strace: ['strace'],
  openssl: ['openssl'],
  iproute2: ['ip'],
  chromium: ['/usr/bin/chromium'],
  rclone: ['rclone'],
  ffmpeg: ['ffmpeg', 'ffprobe'],
  davfs2: ['mount.davfs'],
  cadaver: ['cadaver'],
  curl: ['curl'],
  mpv: ['mpv'],
  bup: ['bup'],
  borgbackup: ['borg'],
  'git-remote-gcrypt': ['git-remote-gcrypt'],
  zsh: ['zsh'],
  fish: ['fish'],
  systemd: ['systemd-analyze', 'systemd-notify'],
  bsdutils: ['script'],
}

/** Makes the machine ready for the tests. */
export function setupTests() {
  const missing = Object.keys(PACKAGES).filter((name) => !PACKAGES[name].every(isThere))
  setup(missing.map((name) => [name]))
}

function isThere(mark) {
  return mark.startsWith('/') ? existsSync(mark) : hasProgram(mark)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setupTests()
