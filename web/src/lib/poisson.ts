/** How far chance alone moves a hashrate. For drawing only: these are estimates, and the only floats of the page. */

const Z95 = 1.959964

/** Return the 95 % interval of the mean of a count, as factors of it (Wilson-Hilferty); null when there is no count. */
export function intervalFactors(count: number): { low: number; high: number } | null {
  if (count <= 0) return null
  const low = count * Math.max(0, 1 - 1 / (9 * count) - Z95 / (3 * Math.sqrt(count))) ** 3
  const next = count + 1
  const high = next * (1 - 1 / (9 * next) + Z95 / (3 * Math.sqrt(next))) ** 3
  return { low: low / count, high: high / count }
}
