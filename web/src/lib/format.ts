/** The formats of this page, bound to the language and the pool's coin. */
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { usePool } from '../api/pool'
import { formatAmount, formatAmountShort, formatCount, formatDecimal, formatPpm, type Atomic } from './amount'
import { relative, splitDuration } from './time'
import { formatDifficulty, formatHashrate, formatWork } from './units'

export function useFormat() {
  const { locale, t } = useI18n()
  const pool = usePool()
  const decimals = computed(() => pool.data.value?.decimals ?? 8)
  const ticker = computed(() => pool.data.value?.ticker ?? '')
  return {
    decimals,
    ticker,
    amount: (atomic: Atomic) => formatAmount(atomic, decimals.value, locale.value),
    money: (atomic: Atomic) => `${formatAmountShort(atomic, decimals.value, locale.value)}\u00a0${ticker.value}`,
    count: (value: Atomic) => formatCount(value, locale.value),
    percent: (text: string | null | undefined) => (text == null ? '–' : `${formatDecimal(text, locale.value)}\u00a0%`),
    ppm: (value: number) => `${formatPpm(value, locale.value)}\u00a0%`,
    hashrate: (hps: Atomic | null | undefined) => (hps == null ? '–' : formatHashrate(hps, locale.value)),
    work: (work: Atomic) => formatWork(work, locale.value),
    difficulty: (work: string) => formatDifficulty(work, pool.data.value?.difficulty_1_work ?? '1', locale.value),
    decimal: (text: string) => formatDecimal(text, locale.value),
    ago: (iso: string, nowMs: number) => {
      const past = relative((nowMs - Date.parse(iso)) / 1_000)
      return past.unit === 'now' ? t('ago.now') : t(`ago.${past.unit}`, { n: past.count }, past.count)
    },
    duration: (seconds: number) => splitDuration(seconds).map((part) => t(`duration.${part.unit}`, { n: part.count }, part.count)).join(' '),
  }
}

export function explorerLink(template: string | null | undefined, name: 'txid' | 'hash' | 'address', value: string): string | null {
  if (!template || !/^https?:\/\//.test(template)) return null
  return template.replace(`{${name}}`, encodeURIComponent(value))
}
