/** Put a list's newest page before what was loaded below it earlier, without a gap and without a row twice. */
export function joinRows<R>(fresh: readonly R[], kept: readonly R[], key: (row: R) => string): R[] | null {
  if (kept.length === 0) return [...fresh]
  const positions = new Map(kept.map((row, index) => [key(row), index]))
  const common = fresh.map((row) => positions.get(key(row))).filter((index) => index !== undefined)
  if (common.length === 0) return null
  const known = new Set(fresh.map(key))
  return [...fresh, ...kept.slice(Math.max(...common) + 1).filter((row) => !known.has(key(row)))]
}
