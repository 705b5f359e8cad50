import { runDoctor } from '../lib/setup/doctor.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'

/** `annexfs doctor` */
export const doctorCommand: Command = {
  name: 'doctor',
  summary: 'say what annexfs needs of this system, what is there, and how to mend the rest',
  usage: [''],
  description: 'Looks at everything that annexfs needs of the system. Exit code 6 when something needed is missing.',
  options: [],
  async run() {
    const report = await runDoctor()
    for (const item of report.items) {
      const mark = item.ok ? 'ok     ' : item.needed ? 'MISSING' : 'absent '
      process.stdout.write(`${mark} ${item.name}: ${item.found}\n`)
      if (!item.ok && item.fix !== undefined) process.stdout.write(`        to mend: ${item.fix}\n`)
    }
    return report.items.every((item) => item.ok || !item.needed) ? EXIT.ok : EXIT.system
  },
}
