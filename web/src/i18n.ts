/** Two languages, chosen by the browser's list or by the person, loaded one at a time. */
import { createI18n } from 'vue-i18n'
import type en from './locales/en'
import { russianForm } from './lib/plural'
import { recall, remember } from './lib/memory'

export type Locale = 'en' | 'ru'
export type Messages = typeof en
export const LOCALES: readonly { id: Locale; name: string; short: string }[] = [
  { id: 'en', name: 'English', short: 'EN' },
  { id: 'ru', name: 'Русский', short: 'RU' },
]

const loaders: Record<Locale, () => Promise<{ default: Messages }>> = {
  en: () => import('./locales/en'),
  ru: () => import('./locales/ru'),
}

export const i18n = createI18n({
  legacy: false,
  locale: 'en',
  missingWarn: false,
  fallbackWarn: false,
  messages: {} as Record<string, Messages>,
  pluralRules: { ru: russianForm },
})

export function preferredLocale(): Locale {
  const chosen = recall('locale')
  if (chosen === 'en' || chosen === 'ru') return chosen
  for (const language of navigator.languages) {
    const id = language.slice(0, 2).toLowerCase()
    if (id === 'ru' || id === 'be' || id === 'uk' || id === 'kk') return 'ru'
    if (id === 'en') return 'en'
  }
  return 'en'
}

export async function setLocale(locale: Locale, isChosen = false): Promise<void> {
  if (!(i18n.global.availableLocales as string[]).includes(locale)) {
    i18n.global.setLocaleMessage(locale, (await loaders[locale]()).default)
  }
  i18n.global.locale.value = locale
  document.documentElement.lang = locale
  if (isChosen) remember('locale', locale)
}
