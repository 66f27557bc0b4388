/** One WebSocket for the whole page: subscriptions counted, reconnected with back-off; without it the page polls. */
import { onScopeDispose, ref, type Ref } from 'vue'

export interface LiveMessage {
  topic: string | null
  event: string
  time: string
  data: Record<string, unknown>
}
export type LiveState = 'connecting' | 'live' | 'polling'
type Listener = (message: LiveMessage) => void

const FIRST_WAIT_MS = 1_000
const LONGEST_WAIT_MS = 30_000
/** The server pings every 20 s and pool statistics come more often: silence for this long is a dead connection. */
const SILENCE_MS = 60_000
const TRIES_BEFORE_POLLING = 2

const state = ref<LiveState>('connecting')
const listeners = new Map<string, Set<Listener>>()
let socket: WebSocket | null = null
let tries = 0
let timer: ReturnType<typeof setTimeout> | undefined
let silence: ReturnType<typeof setTimeout> | undefined

export const liveState: Readonly<Ref<LiveState>> = state

function send(message: object): void {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message))
}

function heard(): void {
  clearTimeout(silence)
  silence = setTimeout(() => socket?.close(), SILENCE_MS)
}

function connect(): void {
  clearTimeout(timer)
  timer = undefined
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:'
  const opened = new WebSocket(`${scheme}//${location.host}/api/v1/ws`)
  socket = opened
  opened.onopen = () => {
    heard()
    send({ subscribe: [...listeners.keys()] })
  }
  opened.onmessage = (frame: MessageEvent<string>) => {
    heard()
    let message: LiveMessage
    try {
      message = JSON.parse(frame.data) as LiveMessage
    } catch {
      return
    }
    if (message.event === 'hello') state.value = 'live'
    // A server that greets and hangs up is not reached: only what it tells ends the back-off.
    else tries = 0
    for (const listener of listeners.get(message.topic ?? '') ?? []) listener(message)
  }
  opened.onclose = () => {
    if (socket !== opened) return
    socket = null
    clearTimeout(silence)
    tries += 1
    state.value = tries >= TRIES_BEFORE_POLLING ? 'polling' : 'connecting'
    if (listeners.size > 0) retryLater()
  }
}

/** Wait twice as long after each failure, and not all clients at the same moment. */
function retryLater(): void {
  const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(tries, 10))
  timer = setTimeout(connect, longest * (0.5 + Math.random() / 2))
}

/** Hear a topic until the calling component is gone. */
export function useLive(topic: string, listener: Listener): void {
  const known = listeners.get(topic)
  if (known) known.add(listener)
  else {
    listeners.set(topic, new Set([listener]))
    send({ subscribe: [topic] })
  }
  if (!socket && timer === undefined) connect()
  onScopeDispose(() => {
    const set = listeners.get(topic)
    set?.delete(listener)
    if (set?.size === 0) {
      listeners.delete(topic)
      send({ unsubscribe: [topic] })
    }
  })
}
