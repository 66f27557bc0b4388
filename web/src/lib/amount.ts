/** Money: whole atomic units in, text out. BigInt all the way; no float ever holds an amount. */

export type Atomic = number | string | bigint

const SEPARATORS: Record<string, { point: string; group: string }> = {
  en: { point: '.', group: ',' },
  ru: { point: ',', group: '\u00a0' },
}

function separators(locale: string): { point: string; group: string } {
  return SEPARATORS[locale] ?? { point: '.', group: ',' }
}

/** Put a separator between every three digits. */
export function groupDigits(digits: string, locale: string): string {
  const { group } = separators(locale)
  return digits.replace(/\B(?=(\d{3})+(?!\d))/g, group)
}

/** Format a whole number of any size. */
export function formatCount(value: Atomic, locale: string): string {
  const number = BigInt(value)
  const sign = number < 0n ? '\u2212' : ''
  return sign + groupDigits((number < 0n ? -number : number).toString(), locale)
}

/** Format an amount in whole coins with all its decimals: 464805000 → "4.64805000". */
export function formatAmount(atomic: Atomic, decimals: number, locale: string): string {
  const value = BigInt(atomic)
  const digits = (value < 0n ? -value : value).toString().padStart(decimals + 1, '0')
  const whole = groupDigits(digits.slice(0, digits.length - decimals), locale)
  const sign = value < 0n ? '\u2212' : ''
  return decimals === 0 ? sign + whole : `${sign}${whole}${separators(locale).point}${digits.slice(-decimals)}`
}

/** Drop the decimals that are zero, for round amounts in running text: "0.01000000" → "0.01". */
export function formatAmountShort(atomic: Atomic, decimals: number, locale: string): string {
  const text = formatAmount(atomic, decimals, locale)
  return decimals === 0 ? text : text.replace(/0+$/, '').replace(/[.,]$/, '')
}

/** Read an amount a person typed, in coins; null when it is not one or has more decimals than the coin. */
export function parseAmount(text: string, decimals: number): bigint | null {
  const match = /^\s*(\d[\d\s\u00a0]*)?(?:[.,](\d*))?\s*$/.exec(text)
  if (!match) return null
  const whole = (match[1] ?? '').replace(/[\s\u00a0]/g, '')
  const fraction = match[2] ?? ''
  if (whole === '' && fraction === '') return null
  if (fraction.length > decimals) return null
  return BigInt((whole || '0') + fraction.padEnd(decimals, '0'))
}

/** Format millionths as percent: 10000 → "1". */
export function formatPpm(ppm: number, locale: string): string {
  return formatAmountShort(ppm, 4, locale)
}

/** Return part of whole in percent with two decimals, rounded down; null when there is no whole. */
export function percentOf(part: Atomic, whole: Atomic): string | null {
  const divisor = BigInt(whole)
  if (divisor <= 0n) return null
  const hundredths = (BigInt(part) * 10_000n) / divisor
  return `${hundredths / 100n}.${(hundredths % 100n).toString().padStart(2, '0')}`
}

/** Write a decimal text of the API ("104.25") the way the locale does. */
export function formatDecimal(text: string, locale: string): string {
  const [whole = '0', fraction] = text.split('.')
  const grouped = groupDigits(whole, locale)
  return fraction === undefined ? grouped : `${grouped}${separators(locale).point}${fraction}`
}
