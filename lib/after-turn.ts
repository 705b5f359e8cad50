let turn: Promise<void> | undefined

/** Resolves when this turn of the event loop is over: what was just answered has then been told to whoever waits for it. */
export function afterTurn(): Promise<void> {
  turn ??= new Promise((resolve) => {
    setImmediate(() => {
      turn = undefined
      resolve()
    })
  })
  return turn
}
