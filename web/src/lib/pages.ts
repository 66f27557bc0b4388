/** A list that comes in pages: the newest rows stay current, older ones are added below on request. */
import { computed, onScopeDispose, ref, shallowRef, watch } from 'vue'
import { ask, query } from '../api/client'
import { useResource } from '../api/resource'
import { joinRows } from './rows'

interface Page { next_page_token: string | null }
interface Options {
  size?: number
  everyS?: number
  parameters?: () => Record<string, string | null>
}

/** The newest page is not asked more often, however much is told live. */
const REFRESH_MS = 2_000

export function usePages<P extends Page, R>(path: () => string | null, rows: (page: P) => R[], key: (row: R) => string, options: Options = {}) {
  const size = options.size ?? 50
  const withQuery = (token: string | null): string | null => {
    const base = path()
    return base === null ? null : base + query({ ...options.parameters?.(), page_size: size, page_token: token })
  }
  const first = useResource<P>(() => withQuery(null), options.everyS ? { everyS: options.everyS } : {})
  const all = shallowRef<R[]>([])
  /** Where the rows go on below; undefined while only the newest page is shown. */
  const below = ref<string | null | undefined>(undefined)
  const isLoadingMore = ref(false)
  let timer: ReturnType<typeof setTimeout> | undefined
  watch(() => withQuery(null), () => {
    all.value = []
    below.value = undefined
  })
  watch(first.data, (page) => {
    if (!page) return
    const joined = below.value === undefined ? null : joinRows(rows(page), all.value, key)
    if (joined === null) below.value = undefined
    all.value = joined ?? rows(page)
  })
  const next = computed(() => (below.value === undefined ? (first.data.value?.next_page_token ?? null) : below.value))

  async function loadMore(): Promise<void> {
    const list = withQuery(null)
    const asked = withQuery(next.value)
    const before = all.value
    if (next.value === null || asked === null || isLoadingMore.value) return
    isLoadingMore.value = true
    try {
      const page = await ask<P>(asked)
      if (list !== withQuery(null)) return
      // Rows that came meanwhile have pushed others out of the newest page: those go between.
      const above = joinRows(all.value, before, key)
      if (above === null) return
      const known = new Set(above.map(key))
      all.value = [...above, ...rows(page).filter((row) => !known.has(key(row)))]
      below.value = page.next_page_token
    } catch {
      void first.reload()
    } finally {
      isLoadingMore.value = false
    }
  }

  /** Show the newest state of a row; a row that is not shown yet comes with the newest page soon. */
  function tell(row: R): void {
    if (all.value.some((one) => key(one) === key(row))) all.value = all.value.map((one) => (key(one) === key(row) ? row : one))
    else timer ??= setTimeout(() => {
      timer = undefined
      if (withQuery(null) !== null) void first.reload()
    }, REFRESH_MS)
  }
  onScopeDispose(() => clearTimeout(timer))
  return { first, all, hasMore: computed(() => next.value !== null), isLoadingMore, loadMore, tell }
}
