/** One clock for all "5 seconds ago" of the page. */
import { onScopeDispose, ref, type Ref } from 'vue'

const now = ref(Date.now())
let users = 0
let timer: ReturnType<typeof setInterval> | undefined

export function useNow(): Ref<number> {
  users += 1
  if (users === 1) {
    now.value = Date.now()
    timer = setInterval(() => { now.value = Date.now() }, 1_000)
  }
  onScopeDispose(() => {
    users -= 1
    if (users === 0) clearInterval(timer)
  })
  return now
}
