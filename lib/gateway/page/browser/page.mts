import { announce, announcer, cacheSection, errorsSection, figures, sourcesSection, waitingSection } from './asides.mjs'
import { throughputChart } from './chart.mjs'
import { byId, byName, say } from './dom.mjs'
import { filesSection } from './files.mjs'
import { follow } from './stream.mjs'
import { originsTable, peersTable } from './tables.mjs'
import { slotOf } from './texture.mjs'
import { duration, visible } from './words.mjs'

const files = filesSection()
const chart = throughputChart()
const origins = originsTable()
const peers = peersTable()
const waiting = waitingSection()
const errors = errorsSection()
const sources = sourcesSection()
const speak = announcer()

const banner = byId('connection')
let lost = false
let version: string | undefined

follow({
  news(snapshot) {
    // Another annexfs answers here now: its own page fits it better.
    if (version !== undefined && version !== snapshot.version) location.reload()
    version = snapshot.version
    const sorted = byName(snapshot.origins, (origin) => origin.name)
    for (const origin of sorted) slotOf(origin.name)
    figures(snapshot)
    files(snapshot)
    chart(sorted, snapshot.now - snapshot.started)
    origins(sorted, snapshot.now - snapshot.started)
    peers(snapshot.peers)
    waiting(snapshot)
    cacheSection(snapshot)
    errors(snapshot)
    sources(snapshot)
    speak(snapshot)
    document.body.classList.add('ready')
  },
  state(reason, since) {
    document.body.classList.toggle('stale', reason !== undefined)
    banner.hidden = reason === undefined
    if (reason !== undefined) {
      const age = since === undefined ? '' : ` What you see is from ${duration(performance.now() - since)} ago.`
      say(banner, `${sentenceOf(reason)}${age}`)
    }
    if (lost !== (reason !== undefined)) announce(reason === undefined ? 'Connected again' : visible(reason))
    lost = reason !== undefined
  },
})

function sentenceOf(reason: string): string {
  const text = visible(reason)
  return /[.!?…]$/.test(text) ? text : `${text}.`
}
