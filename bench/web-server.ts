import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bytes } from '../lib/space/space.js'
import { freePort } from './free-port.js'
import type { Lab } from './lab.js'

export interface WebServer {
  /** `http://127.0.0.1:port`, without a slash at the end. */
  readonly url: string
  /** Bytes of bodies sent so far, of requests that have ended. */
  sent(): Promise<Bytes>
}

/** An nginx on loopback that serves `root`, with listings (rclone's http remote finds files by them). */
export async function startWebServer(lab: Lab, root: string): Promise<WebServer> {
  const folder = await lab.folderFor('nginx')
  const log = join(folder, 'access.log')
  const url = `http://127.0.0.1:${await freePort()}`
  await writeFile(join(folder, 'nginx.conf'), configuration(folder, root, new URL(url).host, log))
  const program = lab.start(
    ['nginx', '-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'error.log')],
    {
      env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
    },
  )
  await listening(url, () => (program.ended() ? program.said() : undefined))
  const sent = async (): Promise<Bytes> => {
    let total = 0
    for (const line of (await readFile(log, 'utf8')).split('\n')) {
      const [path, bytes] = line.split('|')
      if (bytes !== undefined && path?.endsWith('/') === false) total += Number(bytes)
    }
    return total
  }
  return { url, sent }
}

function configuration(folder: string, root: string, listen: string, log: string): string {
  return `
daemon off;
# One process, so that ending it ends all of it.
master_process off;
${process.getuid?.() === 0 ? 'user root;' : ''}
pid ${folder}/nginx.pid;
events { worker_connections 256; }
http {
  log_format plain '$uri|$body_bytes_sent';
  access_log ${log} plain;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000;
  server {
    listen ${listen};
    root ${root};
    autoindex on;
  }
}
`
}

async function listening(url: string, failed: () => string | undefined): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const complaint = failed()
    if (complaint !== undefined) throw new Error(`nginx did not start: ${complaint}`)
    try {
      await (await fetch(`${url}/`)).arrayBuffer()
      return
    } catch {
      // Not listening yet.
      await sleep(25)
    }
  }
  throw new Error('nginx did not start within 5 s')
}
