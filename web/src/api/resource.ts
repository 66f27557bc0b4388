/** An answer of the API that stays current: loaded, refreshed while the page is visible, and kept when a refresh fails. */
import { onScopeDispose, ref, shallowRef, watch, type Ref, type ShallowRef } from 'vue'
import { ApiError, ask } from './client'
import { liveState } from './live'

export interface Resource<T> {
  data: ShallowRef<T | null>
  error: ShallowRef<ApiError | null>
  isLoading: Ref<boolean>
  reload: () => Promise<void>
}

interface Options {
  /** Seconds between refreshes; none when absent. */
  everyS?: number
  /** Seconds between them while the live feed brings the changes. */
  everyLiveS?: number
}

export function useResource<T>(path: () => string | null, options: Options = {}): Resource<T> {
  const data = shallowRef<T | null>(null)
  const error = shallowRef<ApiError | null>(null)
  const isLoading = ref(false)
  let running: AbortController | null = null
  let timer: ReturnType<typeof setTimeout> | undefined

  async function reload(): Promise<void> {
    const asked = path()
    running?.abort()
    clearTimeout(timer)
    if (asked === null) return
    const mine = new AbortController()
    running = mine
    isLoading.value = true
    try {
      const answer = await ask<T>(asked, { signal: mine.signal })
      if (running !== mine) return
      data.value = answer
      error.value = null
    } catch (failure) {
      if (running !== mine || mine.signal.aborted) return
      error.value = failure instanceof ApiError ? failure : new ApiError(0, 'unreadable', String(failure))
      if (error.value.status === 404 || error.value.status === 400) data.value = null
    }
    isLoading.value = false
    schedule()
  }

  function schedule(): void {
    clearTimeout(timer)
    if (!options.everyS) return
    const isLive = liveState.value === 'live' && options.everyLiveS !== undefined
    const seconds = isLive ? (options.everyLiveS ?? options.everyS) : options.everyS
    timer = setTimeout(() => (document.hidden ? undefined : void reload()), seconds * 1_000)
  }

  function shown(): void {
    if (!document.hidden && options.everyS) void reload()
  }

  watch(path, (now, before) => {
    if (before !== undefined && now !== before) data.value = null
    error.value = null
    void reload()
  }, { immediate: true })
  document.addEventListener('visibilitychange', shown)
  onScopeDispose(() => {
    running?.abort()
    running = null
    clearTimeout(timer)
    document.removeEventListener('visibilitychange', shown)
  })
  return { data, error, isLoading, reload }
}
