/** Light, dark or the system's; `themeChanged` counts changes for what draws with colours of its own. */
import { ref } from 'vue'
import { recall, remember } from './memory'

export type Theme = 'auto' | 'light' | 'dark'

const chosen = recall('theme')
export const theme = ref<Theme>(chosen === 'light' || chosen === 'dark' ? chosen : 'auto')
export const themeChanged = ref(0)

export function setTheme(next: Theme): void {
  theme.value = next
  remember('theme', next === 'auto' ? null : next)
  if (next === 'auto') delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = next
  themeChanged.value += 1
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { themeChanged.value += 1 })
