import { describe, expect, it } from 'vitest'
import { formatAmount, formatAmountShort, formatCount, formatPpm, parseAmount, percentOf } from '../src/lib/amount'
import { isoNow, settingsMessage } from '../src/lib/message'
import { joinRows } from '../src/lib/rows'
import { russianForm } from '../src/lib/plural'
import { intervalFactors } from '../src/lib/poisson'
import { formatUtc, relative, splitDuration } from '../src/lib/time'
import { axisUnit, formatDifficulty, formatHashrate, formatWork } from '../src/lib/units'

describe('amounts', () => {
  it('keeps every digit of an amount that a float would round', () => {
    expect(formatAmount('9007199254740993', 8, 'en')).toBe('90,071,992.54740993')
    expect(formatAmount(2n ** 80n, 8, 'en')).toBe('12,089,258,196,146,291.74706176')
  })
  it('pads small amounts and signs negative ones', () => {
    expect(formatAmount(1, 8, 'en')).toBe('0.00000001')
    expect(formatAmount(-1, 8, 'en')).toBe('\u22120.00000001')
    expect(formatAmount(12, 0, 'en')).toBe('12')
  })
  it('writes Russian numbers the Russian way', () => {
    expect(formatAmount(123456700000000, 8, 'ru')).toBe('1\u00a0234\u00a0567,00000000')
    expect(formatAmountShort(1_000_000, 8, 'ru')).toBe('0,01')
  })
  it('drops zeros after the point only', () => {
    expect(formatAmountShort(100_000_000_000, 8, 'en')).toBe('1,000')
    expect(formatPpm(10_000, 'en')).toBe('1')
    expect(formatPpm(7_500, 'ru')).toBe('0,75')
  })
  it('reads what a person types and refuses what is not an amount', () => {
    expect(parseAmount('0,05', 8)).toBe(5_000_000n)
    expect(parseAmount('1 234.5', 8)).toBe(123_450_000_000n)
    expect(parseAmount('.5', 8)).toBe(50_000_000n)
    expect(parseAmount('0.123456789', 8)).toBeNull()
    expect(parseAmount('', 8)).toBeNull()
    expect(parseAmount('.', 8)).toBeNull()
    expect(parseAmount('-1', 8)).toBeNull()
    expect(parseAmount('1e3', 8)).toBeNull()
  })
  it('counts shares of a whole in integers, rounded down', () => {
    expect(percentOf('1', '3')).toBe('33.33')
    expect(percentOf('258254417031933722624', '258254417031933722624')).toBe('100.00')
    expect(percentOf(1, 0)).toBeNull()
    expect(formatCount(1234567, 'en')).toBe('1,234,567')
  })
})

describe('units', () => {
  it('scales hashrates to the right prefix', () => {
    expect(formatHashrate(0, 'en')).toBe('0\u00a0H/s')
    expect(formatHashrate(999, 'en')).toBe('999\u00a0H/s')
    expect(formatHashrate(1000, 'en')).toBe('1.000\u00a0kH/s')
    expect(formatHashrate(2_410_000_000_000, 'en')).toBe('2.410\u00a0TH/s')
    expect(formatHashrate('12340000000000000000', 'ru')).toBe('12,34\u00a0EH/s')
  })
  it('carries a rounding into the next prefix', () => {
    expect(formatHashrate(999_960, 'en')).toBe('1.000\u00a0MH/s')
    expect(formatHashrate(99_996, 'en')).toBe('100.00\u00a0kH/s')
  })
  it('formats work beyond 64 bits', () => {
    expect(formatWork('258254417031933722624', 'en')).toBe('258.3\u00a0EH')
  })
  it('formats difficulty from work', () => {
    expect(formatDifficulty('65537', '65537', 'en')).toBe('1')
    expect(formatDifficulty('32768', '65537', 'en')).toBe('0.499')
    expect(formatDifficulty('2', '65537', 'ru')).toBe('<\u00a00,001')
    expect(formatDifficulty('129127208515966861312', '65537', 'en')).toBe('1.970\u00a0P')
  })
  it('chooses one unit for an axis', () => {
    expect(axisUnit(2.4e12)).toEqual({ divisor: 1e12, prefix: 'T' })
    expect(axisUnit(0)).toEqual({ divisor: 1, prefix: '' })
  })
})

describe('times', () => {
  it('names how long ago in one unit', () => {
    expect(relative(-3)).toEqual({ unit: 'now' })
    expect(relative(59)).toEqual({ unit: 'second', count: 59 })
    expect(relative(3_599)).toEqual({ unit: 'minute', count: 59 })
    expect(relative(86_400)).toEqual({ unit: 'hour', count: 24 })
    expect(relative(172_800)).toEqual({ unit: 'day', count: 2 })
  })
  it('splits durations into two units and never skips one', () => {
    expect(splitDuration(93_784)).toEqual([{ unit: 'day', count: 1 }, { unit: 'hour', count: 2 }])
    expect(splitDuration(86_405)).toEqual([{ unit: 'day', count: 1 }])
    expect(splitDuration(0)).toEqual([{ unit: 'second', count: 0 }])
  })
  it('shows UTC the same everywhere', () => {
    expect(formatUtc('2025-03-01T12:00:00Z')).toBe('2025-03-01 12:00:00 UTC')
  })
})

describe('Russian plural forms', () => {
  it.each([[0, 2], [1, 0], [2, 1], [4, 1], [5, 2], [11, 2], [12, 2], [14, 2], [21, 0], [22, 1], [111, 2], [101, 0]])(
    '%i takes form %i', (count, form) => { expect(russianForm(count, 3)).toBe(form) },
  )
})

describe('statistics', () => {
  it('agrees with the exact Poisson interval to a percent', () => {
    const hundred = intervalFactors(100)
    expect(hundred?.low).toBeCloseTo(0.8136, 2)
    expect(hundred?.high).toBeCloseTo(1.2163, 2)
    const one = intervalFactors(1)
    expect(one?.high).toBeCloseTo(5.57, 1)
    expect(intervalFactors(0)).toBeNull()
  })
})

describe('the message that is signed', () => {
  it('sorts its fields and ends without a newline', () => {
    expect(settingsMessage('litecoin', 'ltc1qx', 3, '2025-03-01T12:00:00Z', { payout_threshold_atomic: 5000000, is_anonymous: true })).toBe(
      'lodepool settings\ncoin=litecoin\naddress=ltc1qx\nrevision=3\ntime=2025-03-01T12:00:00Z\nis_anonymous=true\npayout_threshold_atomic=5000000',
    )
  })
  it('has a time in whole seconds', () => {
    expect(isoNow(new Date(1_740_830_400_123))).toBe('2025-03-01T12:00:00Z')
  })
})

describe('a list in pages', () => {
  const join = (fresh: string, kept: string): string | null => joinRows([...fresh], [...kept], (row) => row)?.join('') ?? null
  it('keeps the row that a new one has pushed out of the newest page', () => {
    expect(join('Zab', 'abcdef')).toBe('Zabcdef')
  })
  it('drops a row that has left the list, and shows none twice', () => {
    expect(join('acd', 'abcdef')).toBe('acdef')
    expect(join('abc', 'abc')).toBe('abc')
  })
  it('says so when there would be a gap', () => {
    expect(join('XYZ', 'abc')).toBeNull()
    expect(join('abc', '')).toBe('abc')
  })
})
