/** The text that the owner of an address signs to change its settings; byte for byte what the pool checks. */
export function settingsMessage(
  coin: string, address: string, revision: number, time: string, fields: Record<string, string | number | boolean>,
): string {
  const head = ['lodepool settings', `coin=${coin}`, `address=${address}`, `revision=${revision}`, `time=${time}`]
  const changes = Object.keys(fields).sort().map((name) => `${name}=${String(fields[name])}`)
  return [...head, ...changes].join('\n')
}

/** Now, to the second, as the API writes times. */
export function isoNow(now: Date = new Date()): string {
  return `${now.toISOString().slice(0, 19)}Z`
}
