import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'

export interface Mock {
  /** Answer a request under /api/; false when it is not one. */
  handle(request: IncomingMessage, response: ServerResponse): boolean
  upgrade(request: IncomingMessage, socket: Duplex): void
}
export function makeMock(options?: { scenario?: string; now?: number }): Mock
