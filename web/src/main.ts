import { createApp } from 'vue'
import App from './App.vue'
import { i18n, preferredLocale, setLocale } from './i18n'
import { router } from './router'
import './styles.css'

void setLocale(preferredLocale()).then(() => {
  createApp(App).use(i18n).use(router).mount('#app')
})
