/** A list that comes in pages: the first stays current, more are added below on request. */
import { computed, ref, shallowRef, watch } from 'vue'
import { ask, query } from '../api/client'
import { useResource } from '../api/resource'

interface Page { next_page_token: string | null }

export function usePages<P extends Page, R>(path: () => string | null, rows: (page: P) => R[], options: { size?: number; everyS?: number; parameters?: () => Record<string, string | null> } = {}) {
  const size = options.size ?? 50
  const withQuery = (token: string | null): string | null => {
    const base = path()
    return base === null ? null : base + query({ ...options.parameters?.(), page_size: size, page_token: token })
  }
  const first = useResource<P>(() => withQuery(null), options.everyS ? { everyS: options.everyS } : {})
  const more = shallowRef<R[]>([])
  const token = ref<string | null | undefined>(undefined)
  const isLoadingMore = ref(false)
  watch(() => withQuery(null), () => {
    more.value = []
    token.value = undefined
  })
  const next = computed(() => (token.value === undefined ? (first.data.value?.next_page_token ?? null) : token.value))
  const all = computed<R[]>(() => (first.data.value ? [...rows(first.data.value), ...more.value] : []))
  async function loadMore(): Promise<void> {
    const asked = withQuery(next.value)
    if (next.value === null || asked === null || isLoadingMore.value) return
    isLoadingMore.value = true
    try {
      const page = await ask<P>(asked)
      if (asked === withQuery(next.value)) {
        more.value = [...more.value, ...rows(page)]
        token.value = page.next_page_token
      }
    } catch {
      void first.reload()
    } finally {
      isLoadingMore.value = false
    }
  }
  return { first, all, hasMore: computed(() => next.value !== null), isLoadingMore, loadMore }
}
