import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from 'playwright-core'
import type { TestContext } from 'node:test'
import { temporaryFolder } from './temp.js'

/** Debian's. */
const PROGRAM = '/usr/bin/chromium'

/** Quiet: a browser asks its maker for updates, lists and experiments unless it is told not to. */
const ARGUMENTS = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
]

/** A headless Chromium with an empty profile, that ends with the test `t`. */
export async function browser(t: Pick<TestContext, 'after'>): Promise<Browser> {
  const folder = await temporaryFolder(t)
  const started = await chromium.launch({
    executablePath: PROGRAM,
    headless: true,
    args: ARGUMENTS,
    timeout: 60_000,
    env: { ...process.env, HOME: folder, TMPDIR: folder, XDG_CONFIG_HOME: folder, XDG_CACHE_HOME: folder },
  })
  t.after(() => started.close())
  return started
}

/** A page of a fresh context, with all that went wrong in it, and all that it asked for. */
export interface Watched {
  readonly page: Page
  readonly context: BrowserContext
  /** Errors of scripts, refusals of the content policy, other errors on the console. */
  readonly trouble: string[]
  /** URLs of all requests. */
  readonly requests: string[]
}

export async function openPage(from: Browser, url: string, options: BrowserContextOptions = {}): Promise<Watched> {
  const context = await from.newContext(options)
  const page = await context.newPage()
  page.setDefaultTimeout(15_000)
  const trouble: string[] = []
  const requests: string[] = []
  page.on('pageerror', (error) => trouble.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') trouble.push(message.text())
  })
  context.on('request', (request) => requests.push(request.url()))
  await page.goto(url, { waitUntil: 'commit' })
  return { page, context, trouble, requests }
}
