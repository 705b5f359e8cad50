/**
 * The milliseconds that `work` took: of the clock or of the processor, whichever is less, so that a machine that is busy
 * with other things does not fail a test.
 */
export function millisecondsOf(work: () => void): number {
  const clock = performance.now()
  const processor = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(processor)
  return Math.min(performance.now() - clock, (user + system) / 1000)
}
