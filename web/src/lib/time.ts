/** Times and durations as people read them. The API's times are ISO 8601 in UTC; what is shown is local. */

export type Relative = { unit: 'now' } | { unit: 'second' | 'minute' | 'hour' | 'day'; count: number }

const MINUTE_S = 60
const HOUR_S = 3_600
const DAY_S = 86_400

/** Return how long ago something was in its largest unit; below five seconds is "now". */
export function relative(seconds: number): Relative {
  const past = Math.max(0, Math.floor(seconds))
  if (past < 5) return { unit: 'now' }
  if (past < MINUTE_S) return { unit: 'second', count: past }
  if (past < HOUR_S) return { unit: 'minute', count: Math.floor(past / MINUTE_S) }
  if (past < 2 * DAY_S) return { unit: 'hour', count: Math.floor(past / HOUR_S) }
  return { unit: 'day', count: Math.floor(past / DAY_S) }
}

/** Split a duration into its two largest units: 93784 s → 1 day, 2 hours. */
export function splitDuration(seconds: number): { unit: 'day' | 'hour' | 'minute' | 'second'; count: number }[] {
  let left = Math.max(0, Math.floor(seconds))
  const parts: { unit: 'day' | 'hour' | 'minute' | 'second'; count: number }[] = []
  for (const [unit, size] of [['day', DAY_S], ['hour', HOUR_S], ['minute', MINUTE_S], ['second', 1]] as const) {
    const count = Math.floor(left / size)
    left -= count * size
    if (count > 0) parts.push({ unit, count })
    else if (parts.length > 0) break
    if (parts.length === 2) break
  }
  return parts.length > 0 ? parts : [{ unit: 'second', count: 0 }]
}

/** The browser's own variant of the page's language: "en-GB" keeps its 24 hours. */
export function regional(locale: string): string {
  const languages = typeof navigator === 'undefined' ? [] : navigator.languages
  return languages.find((language) => language.toLowerCase().startsWith(locale)) ?? locale
}

/** Local date and time, to the minute. */
export function formatLocal(iso: string, locale: string): string {
  return new Intl.DateTimeFormat(regional(locale), { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(iso))
}

/** UTC, to the second, the same in every language: "2025-03-01 12:00:00 UTC". */
export function formatUtc(iso: string): string {
  return `${new Date(iso).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
