import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { temporaryFolder } from './temp.js'

export interface Nginx {
  /** `http://127.0.0.1:port`, without a slash at the end. */
  readonly url: string
  /** What it serves; files may be added at any time. */
  readonly root: string
  /** The requests that it has answered so far. */
  log(): Promise<NginxRequest[]>
}

export interface NginxRequest {
  readonly method: string
  readonly path: string
  readonly status: number
  /** Bytes of body that it sent. */
  readonly bytes: number
  readonly range: string
}

/** A real nginx on a loopback address with a folder of its own; ended by its process id when the test ends. */
export async function startNginx(t: Pick<TestContext, 'after'>, options: { root?: string } = {}): Promise<Nginx> {
  const folder = await temporaryFolder(t)
  const root = options.root ?? join(folder, 'root')
  await mkdir(root, { recursive: true })
  const port = await freePort()
  const log = join(folder, 'access.log')
  await writeFile(join(folder, 'nginx.conf'), configuration(folder, root, port, log))
  const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'error.log')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let complaints = ''
  child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()))
  const ended = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGTERM')
    await ended
  })
  const url = `http://127.0.0.1:${port}`
  await ready(url, () => (child.exitCode === null ? undefined : complaints))
  return { url, root, log: async () => (await readFile(log, 'utf8')).split('\n').flatMap(parseLine) }
}

function configuration(folder: string, root: string, port: number, log: string): string {
  return `
daemon off;
# One process, so that ending it ends all of it.
master_process off;
user root;
worker_processes 1;
pid ${folder}/nginx.pid;
events { worker_connections 256; }
http {
  log_format plain '$request_method|$uri|$status|$body_bytes_sent|$http_range';
  access_log ${log} plain;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  sendfile on;
  # Together with keep-alive this costs some answers 40 ms on loopback (delayed acknowledgements).
  tcp_nopush off;
  server {
    listen 127.0.0.1:${port};
    root ${root};
    location /stop/ { max_ranges 0; alias ${root}/; }
  }
}
`
}

function parseLine(line: string): NginxRequest[] {
  const [method = '', path = '', status, bytes, range = ''] = line.split('|')
  if (status === undefined || path === '/ready-check') return []
  return [{ method, path, status: Number(status), bytes: Number(bytes), range }]
}

async function ready(url: string, failed: () => string | undefined): Promise<void> {
  for (let tries = 0; tries < 2_000; tries++) {
    const complaints = failed()
    if (complaints !== undefined) throw new Error(`nginx did not start: ${complaints}`)
    try {
      await (await fetch(`${url}/ready-check`)).arrayBuffer()
      return
    } catch {
      // Not listening yet.
      await sleep(25)
    }
  }
  throw new Error('nginx did not start within 50 s')
}

/** A port that was free just now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
