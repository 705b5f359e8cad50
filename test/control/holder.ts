import { startControl } from '../../lib/control/server.js'
import { silentLog } from '../../lib/log/log.js'
import type { Method } from '../../lib/control/protocol.js'

/* A process that answers at a control socket until it is killed: `holder.js FOLDER NAME`. */

const [folder, name] = process.argv.slice(2)
if (folder === undefined || name === undefined) process.exit(2)
const methods = new Map<string, Method>([['who', () => Promise.resolve(process.pid)]])
await startControl({ folder, name, methods, log: silentLog })
process.send?.('ready')
// It ends with the test, however that ends.
process.on('disconnect', () => process.exit(0))
