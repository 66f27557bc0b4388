/** What the page remembers in this browser; nothing when the browser forbids it. */

type Key = 'locale' | 'theme' | 'address'

export function recall(key: Key): string | null {
  try {
    return localStorage.getItem(`lodepool.${key}`)
  } catch {
    return null
  }
}

export function remember(key: Key, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(`lodepool.${key}`)
    else localStorage.setItem(`lodepool.${key}`, value)
  } catch {
    // A browser that keeps nothing still shows everything.
  }
}
