/** Hashrates and work with a unit: three to four significant digits, from whole numbers of any size. */
import { formatDecimal } from './amount'

const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'] as const

export interface Scaled {
  value: string
  prefix: string
}

/** Scale a whole number to a prefix: 2400000000000 → "2.40", "T". Rounded half up, by integers. */
export function scale(input: number | string | bigint, locale: string): Scaled {
  const value = BigInt(input)
  let power = 0
  let unit = 1n
  while (value >= unit * 1000n && power < PREFIXES.length - 1) {
    unit *= 1000n
    power += 1
  }
  if (power === 0) return { value: value.toString(), prefix: '' }
  const whole = value / unit
  const decimals = whole >= 100n ? 1 : whole >= 10n ? 2 : 3
  const factor = 10n ** BigInt(decimals)
  const rounded = (value * factor * 2n + unit) / (unit * 2n)
  if (rounded >= 1000n * factor && power < PREFIXES.length - 1) {
    return { value: formatDecimal('1.000', locale), prefix: PREFIXES[power + 1] ?? '' }
  }
  const text = `${rounded / factor}.${(rounded % factor).toString().padStart(decimals, '0')}`
  return { value: formatDecimal(text, locale), prefix: PREFIXES[power] ?? '' }
}

export function formatHashrate(hps: number | string | bigint, locale: string): string {
  const { value, prefix } = scale(hps, locale)
  return `${value}\u00a0${prefix}H/s`
}

/** Format work, an expected number of hashes: "258.3 EH". */
export function formatWork(work: number | string | bigint, locale: string): string {
  const { value, prefix } = scale(work, locale)
  return `${value}\u00a0${prefix}H`
}

/** Format a difficulty: work over the work of difficulty 1, with a prefix when it is large. */
export function formatDifficulty(work: string | number | bigint, difficulty1Work: string, locale: string): string {
  const one = BigInt(difficulty1Work)
  if (one <= 0n) return '0'
  const thousandths = (BigInt(work) * 1000n) / one
  if (thousandths === 0n && BigInt(work) > 0n) return `<\u00a0${formatDecimal('0.001', locale)}`
  if (thousandths < 1000n) return formatDecimal(`0.${thousandths.toString().padStart(3, '0')}`, locale)
  const { value, prefix } = scale(thousandths / 1000n, locale)
  return prefix ? `${value}\u00a0${prefix}` : value
}

/** The unit an axis is drawn in: one for all its ticks, chosen by its largest value. */
export function axisUnit(largest: number): { divisor: number; prefix: string } {
  let power = 0
  let divisor = 1
  while (largest >= divisor * 1000 && power < PREFIXES.length - 1) {
    divisor *= 1000
    power += 1
  }
  return { divisor, prefix: PREFIXES[power] ?? '' }
}
