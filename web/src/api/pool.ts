/** The pool itself, asked once for all components: its coin's decimals, links and rules are needed everywhere. */
import { effectScope } from 'vue'
import { useLive } from './live'
import { useResource, type Resource } from './resource'
import type { Pool } from './types'

let shared: Resource<Pool> | null = null

export function usePool(): Resource<Pool> {
  if (shared) return shared
  shared = effectScope(true).run(() => {
    const resource = useResource<Pool>(() => '/pool', { everyS: 10, everyLiveS: 60 })
    useLive('pool', ({ event, data }) => {
      if (event === 'stats' && resource.data.value) resource.data.value = { ...resource.data.value, ...(data as Partial<Pool>) }
    })
    useLive('blocks', ({ event }) => {
      if (event === 'block_found' || event === 'block_orphaned') void resource.reload()
    })
    return resource
  }) as Resource<Pool>
  return shared
}
