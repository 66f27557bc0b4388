/** Questions to the API: JSON in and out, problems as exceptions, revalidated by ETag through the browser's cache. */
import type { Problem } from './types'

const BASE = '/api/v1'
const TIMEOUT_MS = 12_000

/** What the API refused, or why it could not be asked. */
export class ApiError extends Error {
  constructor(readonly status: number, readonly kind: string, readonly detail: string) {
    super(`${status} ${kind}: ${detail}`)
  }

  /** Nobody answered: no network, or no gateway. */
  get isOffline(): boolean {
    return this.status === 0
  }

  get isAway(): boolean {
    return this.status === 502 || this.status === 503 || this.status === 504
  }
}

export function query(parameters: Record<string, string | number | null | undefined>): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== '') search.set(name, String(value))
  }
  const text = search.toString()
  return text ? `?${text}` : ''
}

export async function ask<T>(path: string, options: { method?: string; body?: unknown; signal?: AbortSignal } = {}): Promise<T> {
  const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(options.signal ? [options.signal] : [])]
  const request: RequestInit = { method: options.method ?? 'GET', cache: 'no-cache', credentials: 'same-origin', signal: AbortSignal.any(signals) }
  if (options.body !== undefined) {
    request.body = JSON.stringify(options.body)
    request.headers = { 'Content-Type': 'application/json' }
  }
  let response: Response
  try {
    response = await fetch(BASE + path, request)
  } catch (error) {
    if (options.signal?.aborted) throw error
    throw new ApiError(0, 'offline', '')
  }
  if (response.ok) return (await response.json()) as T
  const problem = (await response.json().catch(() => null)) as Problem | null
  const kind = problem?.type?.split(':').at(-1) ?? 'unknown'
  throw new ApiError(response.status, kind, problem?.detail ?? response.statusText)
}
