import { AnnexfsError } from '../errors.js'
import type { Bytes } from '../space/space.js'
import type { StoreContext } from './context.js'
import { localObjects } from './rsync-local.js'
import { rsyncDaemonStore } from './rsync-daemon.js'
import { rsyncPaths, rsyncPlace } from './rsync-url.js'
import { parseSshUrl, pathAtHost } from './ssh-address.js'
import { hostFiles } from './ssh-files.js'
import { SshHost } from './ssh-host.js'
import { hostObject } from './ssh-object.js'
import type { ObjectStore } from './store.js'
import { wholeObjects } from './whole.js'

/** `received`: the bytes that came over ssh. */
export interface RsyncStore extends ObjectStore {
  readonly received: Bytes
  close(): Promise<void>
}

/**
 * An rsync special remote on this machine or behind ssh (`host:path`), with `exporttree` too: its files are read in
 * place, over sftp or, where the host has none, through a shell there. rsync itself is run for a daemon only, from which
 * whole objects are had ({@link rsyncDaemonStore}).
 *
 * Known limits. A host that lets nothing but rsync be run (`rrsync`) cannot be read from. Of another user's home
 * (`host:~user/path`) nothing is known without a shell. `annex-rsync-transport` may only be ssh with options.
 * @throws AnnexfsError INVALID for an address that is refused, FORBIDDEN for one that only the git-annex branch names,
 * UNSUPPORTED for other transports than ssh.
 */
export async function rsyncStore(context: StoreContext): Promise<RsyncStore> {
  const { remote, log } = context
  const place = rsyncPlace(remote)
  switch (place.how) {
    case 'daemon': {
      const { folder, scratch } = context
      const whole = wholeObjects(await rsyncDaemonStore(context), {
        name: `${remote.name} (rsync)`,
        folder,
        log,
        ...(scratch === undefined ? {} : { scratch }),
      })
      return { received: 0, open: (name, signal) => whole.open(name, signal), close: async () => whole.close?.() }
    }
    case 'local':
      return localObjects(context, place.path)
    case 'ssh': {
      const address = parseSshUrl(place.url)
      const root = pathAtHost(address)
      const host = await SshHost.of(context, address)
      const { transport } = host.settings
      if (transport.length > 0 && transport[0] !== 'ssh') {
        throw new AnnexfsError(
          'UNSUPPORTED',
          `remote.${remote.name}.annex-rsync-transport is not ssh; only "ssh" with options is supported`,
        )
      }
      const files = hostFiles(host, log)
      return {
        open: async (name, signal) => {
          return hostObject(files, rsyncPaths(root, name), name.size, signal)
        },
        get received() {
          return files.received
        },
        close: async () => {
          await files.close()
          await host.close()
        },
      }
    }
    default:
      return place satisfies never
  }
}
