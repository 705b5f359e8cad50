import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { chromium, type BrowserContext, type BrowserContextOptions, type Page } from 'playwright-core'

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

/** A page of a fresh context, with all that went wrong in it, and all that it asked for. */
export interface Watched {
  readonly page: Page
  readonly context: BrowserContext
  /** Errors of scripts, refusals of the content policy, other errors on the console. */
  readonly trouble: string[]
  /** URLs of all requests. */
  readonly requests: string[]
}

export interface TestBrowser {
  open(url: string, options?: BrowserContextOptions): Promise<Watched>
  /** Must be called at the end. */
  close(): Promise<void>
}

/** A headless Chromium with an empty profile. */
export async function startBrowser(): Promise<TestBrowser> {
  const folder = await mkdtemp(join(tmpdir(), 'annexfs-test-browser-'))
  const browser = await chromium.launch({
    executablePath: PROGRAM,
    headless: true,
    args: ARGUMENTS,
    timeout: 120_000,
    env: { ...process.env, HOME: folder, TMPDIR: folder, XDG_CONFIG_HOME: folder, XDG_CACHE_HOME: folder },
  })
  return {
    async open(url, options = {}) {
      const context = await browser.newContext(options)
      // Functions for the tests to look around with, see `seen`.
      await context.addInitScript({ path: fileURLToPath(new URL('./seen-in-page.cjs', import.meta.url)) })
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
    },
    async close() {
      await browser.close()
      await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** The value of an expression in the page. `seen` there is a `Seen`. */
export function valueIn<T>(page: Page, expression: string): Promise<T> {
  return page.evaluate<T>(expression)
}

/** Waits until `check` is true. @throws Error with what `about` says, after a minute. */
export async function eventually(check: () => Promise<boolean>, about: () => Promise<string>): Promise<void> {
  const end = performance.now() + 60_000
  while (!(await check())) {
    if (performance.now() > end) throw new Error(await about())
    await sleep(50)
  }
}
