/**
 * The API with generated data, for developing and photographing the page without a pool.
 *
 * One seed, so that every run shows the same; the distribution of each block sums exactly, as the real one does.
 * Scenarios: "full", "empty" (a pool on its first day), "degraded" (shares and payouts services away).
 * On its own: node dev/mock.mjs [--port 0] [--scenario full]; prints the address it listens on.
 */
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'

const ATOMIC = 100_000_000
/** What the generated pool mines in about four hours. */
const NETWORK_WORK = 241_208_515_966_861_312n
const REWARD = 625_000_000
const FEE_PPM = 10_000
const MATURITY = 100
const BECH32 = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'

/** mulberry32: small, seeded, good enough for pictures. */
function random(seed) {
  let a = seed >>> 0
  return () => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), a | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
const hex = (text) => createHash('sha256').update(text).digest('hex')
const address = (i) => 'ltc1q' + [...createHash('sha256').update(`miner ${i}`).digest()].map((b) => BECH32[b % 32]).join('') + '4933px'
const iso = (ms) => new Date(Math.floor(ms / 1000) * 1000).toISOString().replace('.000Z', 'Z')

export function makeMock({ scenario = process.env.LODEPOOL_SCENARIO ?? 'full', now } = {}) {
  const clock = () => now ?? Date.now()
  const start = clock()
  const rng = random(7)
  const isEmpty = scenario === 'empty'
  const degraded = scenario === 'degraded' ? ['shares', 'payouts'] : []
  const minerCount = isEmpty ? 0 : 137
  const miners = Array.from({ length: minerCount }, (_, i) => ({
    address: address(i), hps: Math.round(4.6e12 / (i + 1.7) ** 1.15), anonymous: i % 9 === 4, workers: 1 + (i * 7) % 5,
  }))
  const poolHps = miners.reduce((sum, m) => sum + m.hps, 0)

  const blocks = []
  let time = start - 47 * 60_000
  let height = 2_850_417
  for (let i = 0; !isEmpty && i < 64; i++) {
    const effort = Math.max(0.01, -Math.log(1 - rng()))
    const work = (NETWORK_WORK * BigInt(Math.round(effort * 10000))) / 10000n
    const confirmations = i === 0 ? 0 : Math.round((start - time) / 150_000)
    const status = i === 5 ? 'orphaned' : i === 0 ? 'candidate' : confirmations >= MATURITY ? 'mature' : 'immature'
    const fees = Math.round(rng() * 4_000_000)
    const reward = REWARD + fees
    const finder = miners[Math.floor(rng() ** 2 * miners.length)]
    blocks.push({
      height, block_hash: hex(`block ${height}`), status, confirmations: status === 'orphaned' ? 0 : confirmations,
      maturity_blocks: MATURITY, found_time: iso(time), finder: finder.address, worker: `rig${1 + i % 4}`,
      scheme: i % 11 === 3 ? 'solo' : 'pplns', reward_atomic: reward, fees_atomic: fees,
      pool_fee_atomic: i === 0 ? 0 : Math.floor((reward * FEE_PPM) / 1e6), remainder_atomic: 0,
      coinbase_txid: hex(`coinbase ${height}`), network_work: String(NETWORK_WORK), round_work: String(work),
      window_work: i === 0 ? '0' : String(NETWORK_WORK * 2n),
      effort_percent: `${Math.floor(effort * 100)}.${String(Math.floor((effort * 10000) % 100)).padStart(2, '0')}`,
    })
    const gap = (20 + rng() * 520) * (i < 3 ? 0.15 : 1)
    time -= gap * 60_000
    height -= Math.round((gap * 60) / 150)
  }
  const payouts = []
  for (let i = 0; !isEmpty && i < 160; i++) {
    const at = start - 35 * 60_000 - Math.floor(i / 8) * 4 * 3_600_000
    const status = i < 3 ? 'broadcast' : i === 11 ? 'review' : 'confirmed'
    payouts.push({
      payout_id: `0195509f-1f5e-7c3a-8f6e-${hex(`p${i}`).slice(0, 12)}`, batch_id: `0195509f-1f5e-7c3a-8f6e-${hex(`b${i >> 3}`).slice(0, 12)}`,
      address: miners[(i * 5) % 23].address, amount_atomic: 1_000_000 + Math.floor(rng() * 380_000_000), status,
      txid: hex(`tx ${i >> 3}`), create_time: iso(at), confirm_time: status === 'confirmed' ? iso(at + 7 * 60_000) : null,
    })
  }

  const rates = (hps) => ({
    hps_1m: Math.round(hps * 1.04), hps_5m: Math.round(hps * 0.98), hps_15m: Math.round(hps * 1.01),
    hps_1h: hps, hps_24h: Math.round(hps * 0.97),
  })
  const counts = (n) => ({ accepted: n, stale: Math.round(n * 0.0021), duplicate: Math.round(n * 0.00002), low_difficulty: Math.round(n * 0.0003), invalid: Math.round(n * 0.00001) })
  const blockCounts = () => Object.fromEntries(['candidate', 'immature', 'mature', 'orphaned'].map((s) => [s, blocks.filter((b) => b.status === s).length]))
  const gone = (name) => degraded.includes(name)

  function pool() {
    const last = blocks[0] ?? null
    const elapsed = last ? (clock() - Date.parse(last.found_time)) / 1000 : 0
    const roundWork = BigInt(Math.round(poolHps * elapsed))
    const percent = Number((roundWork * 10000n) / NETWORK_WORK)
    return {
      name: 'Lodepool', coin: 'litecoin', coin_name: 'Litecoin', ticker: 'LTC', decimals: 8, network: 'main', algorithm: 'scrypt',
      block_interval_s: 150, maturity_blocks: MATURITY, difficulty_1_work: '65537', scheme: 'pplns', fee_ppm: FEE_PPM,
      payout_threshold_atomic: 1_000_000, stratum_port: 3333,
      explorer: { tx_url: 'https://litecoinspace.org/tx/{txid}', block_url: 'https://litecoinspace.org/block/{hash}', address_url: 'https://litecoinspace.org/address/{address}' },
      shares: gone('shares') ? null : {
        hashrates: rates(poolHps), counts: counts(isEmpty ? 0 : 81_502_114), miner_online_count: minerCount, worker_online_count: minerCount * 3,
        best_share: isEmpty ? null : { hash_work: '9152038417264812', address: miners[3].address }, last_share_time: isEmpty ? null : iso(clock()),
      },
      round: gone('shares') ? null : {
        start_height: last?.height ?? 0, round_work: String(roundWork), network_work: isEmpty ? null : String(NETWORK_WORK),
        effort_percent: isEmpty ? null : `${Math.floor(percent / 100)}.${String(percent % 100).padStart(2, '0')}`,
      },
      blocks: { counts: blockCounts(), last }, chain: isEmpty ? null : { height: 2_850_436, work: String(NETWORK_WORK) },
      payer: gone('payouts') ? null : { is_active: true, is_held: false, reason: null, batches_confirmed: 19, payouts_confirmed: isEmpty ? 0 : 156, paid_atomic: isEmpty ? 0 : 612 * ATOMIC, batches_in_review: 1, accounts_isolated: 0 },
      stratum: { host: 'pool.example.org', port: 3333, is_tls: true, difficulty_start: '65536', difficulty_min: '1024', difficulty_max: null, schemes_allowed: ['pplns', 'solo'], password_options: ['d=', 'm='] },
      luck: { blocks_7d: blocks.filter((b) => clock() - Date.parse(b.found_time) < 7 * 86_400_000).length, effort_percent_mean_7d: isEmpty ? null : '93.41', effort_percent_mean_100: isEmpty ? null : '98.02' },
      degraded,
    }
  }

  const WINDOWS = { '24h': [86_400, 600], '7d': [604_800, 3_600], '90d': [7_776_000, 43_200] }
  function history(window, hps, sharesPerS, seed, isPool) {
    const [length, interval] = WINDOWS[window] ?? WINDOWS['24h']
    const noise = random(seed)
    const end = Math.floor(clock() / 1000 / interval) * interval
    const points = []
    for (let t = end - length; t < end && !isEmpty; t += interval) {
      const day = 1 + 0.06 * Math.sin((t / 86_400) * 2 * Math.PI)
      const outage = !isPool && window === '24h' && t > end - 40_000 && t < end - 35_000 ? 0 : 1
      const expected = sharesPerS * interval * day * outage
      const accepted = Math.max(0, Math.round(expected + Math.sqrt(expected) * (noise() + noise() + noise() - 1.5) * 2))
      const rate = sharesPerS > 0 ? Math.round((accepted / (sharesPerS * interval)) * hps) : 0
      points.push({ time: iso(t * 1000), hps: rate, accepted, rejected: Math.round(accepted * 0.003 * noise() * 2), ...(isPool ? { worker_count: Math.round(minerCount * 3 * day) } : { work: String(BigInt(rate) * BigInt(interval)) }) })
    }
    const inside = blocks.filter((b) => Date.parse(b.found_time) / 1000 > end - length)
    return { window, interval_s: interval, points, ...(isPool ? { blocks: inside.map((b) => ({ time: b.found_time, height: b.height, effort_percent: b.effort_percent })) } : {}) }
  }

  function credits(reward, fee, block) {
    if (block.pool_fee_atomic === 0) return []
    const shared = reward - fee
    const paid = block.scheme === 'solo' ? miners.filter((m) => m.address === block.finder) : miners.slice(0, 96)
    const sum = paid.reduce((total, m) => total + BigInt(m.hps), 0n)
    const rows = paid.map((m) => {
      const exact = BigInt(shared) * BigInt(m.hps)
      return { address: m.address, work: String((BigInt(block.window_work) * BigInt(m.hps)) / sum), amount_atomic: Number(exact / sum), rest: exact % sum }
    })
    let left = shared - rows.reduce((total, row) => total + row.amount_atomic, 0)
    for (const row of [...rows].sort((a, b) => (a.rest < b.rest ? 1 : -1))) if (left > 0) { row.amount_atomic += 1; left -= 1 }
    return rows.map(({ rest: _rest, ...row }) => row)
  }

  let revision = 3
  const settings = { payout_threshold_atomic: 1_000_000, is_threshold_default: true, scheme: null, is_anonymous: false, can_choose_scheme: false, proof_kinds: ['signature'] }
  const agents = ['cgminer/4.12.1', 'bmminer/2.0.0', 'LUXminer 2025.9', 'cpuminer/2.5.1', null]
  function miner(found) {
    const m = found
    const workers = Array.from({ length: m.workers }, (_, i) => {
      const off = i === 2
      return {
        worker: i === 3 ? '' : `rig${i + 1}`, presence: gone('miners') ? null : off ? 'offline' : 'online', scheme: 'pplns', user_agent: agents[i % 5],
        create_time: iso(start - 40 * 86_400_000), last_share_time: iso(clock() - (off ? 3 * 3_600_000 : 4_000 * (i + 1))),
        hashrates: gone('shares') ? null : off ? rates(0) : rates(Math.round(m.hps / m.workers)), counts: gone('shares') ? null : counts(41_000 + i * 977),
        best_hash_work: '152038417264', last_reject: i % 2 ? null : { reason: i === 0 ? 'stale' : 'low_difficulty', time: iso(start - 26 * 60_000) },
      }
    })
    return {
      address: m.address, coin: 'litecoin',
      account: { create_time: iso(start - 40 * 86_400_000), last_share_time: iso(clock() - 4_000), worker_count: m.workers, worker_online_count: m.workers - (m.workers > 2 ? 1 : 0), payout_threshold_atomic: settings.payout_threshold_atomic, is_threshold_default: settings.is_threshold_default },
      shares: gone('shares') ? null : { hashrates: rates(m.hps), counts: counts(815_114), total_work: '53477376000000000000', best_hash_work: '4152038417264812' },
      balance: { immature_atomic: 46_480_500, payable_atomic: 12_512_344, reserved_atomic: 0, paid_atomic: 4_575_120_931 },
      workers, has_more_workers: false, estimate: gone('shares') ? null : { atomic_per_day: Math.floor((m.hps * 86400 * REWARD * 0.99) / Number(NETWORK_WORK)), basis: '24h' },
      uncertainty: gone('shares') ? null : { hps_1h_low: Math.round(m.hps * 0.937), hps_1h_high: Math.round(m.hps * 1.066), share_count_1h: 962 }, degraded,
    }
  }

  function page(rows, query) {
    const size = Number(query.get('page_size') ?? 100)
    const from = Number(query.get('page_token') ?? 0)
    return [rows.slice(from, from + size), from + size < rows.length ? String(from + size) : null]
  }
  const problem = (status, name, title, detail) => ({ status, body: { type: `urn:lodepool:problem:${name}`, title, status, detail } })

  function answer(method, path, query, body) {
    const parts = path.split('/').slice(3)
    const [noun, id, sub] = parts
    if (noun === 'pool' && !id) return pool()
    if (noun === 'pool' && id === 'history') return gone('shares') ? problem(503, 'service-unavailable', 'A service behind the API is away', 'The shares service does not answer; try again in a moment.') : history(query.get('window') ?? '24h', poolHps, 9, 3, true)
    if (noun === 'blocks' && !id) {
      const status = query.get('status')
      const [rows, next] = page(blocks.filter((b) => !status || b.status === status), query)
      return { blocks: rows, counts: blockCounts(), next_page_token: next }
    }
    if (noun === 'blocks') {
      const block = blocks.find((b) => b.block_hash === id)
      return block ? { ...block, credits: credits(block.reward_atomic, block.pool_fee_atomic, block) } : problem(404, 'unknown-block', 'No such block here', 'The pool found no block of that hash.')
    }
    if (noun === 'payouts') {
      if (gone('payouts')) return problem(503, 'service-unavailable', 'A service behind the API is away', 'The payouts service does not answer; try again in a moment.')
      const [rows, next] = page(payouts, query)
      return { payouts: rows, next_page_token: next }
    }
    if (noun === 'leaderboard') return { window: '24h', leaders: miners.slice(0, 100).map((m, i) => ({ rank: i + 1, address: m.anonymous ? null : m.address, hps: m.hps, work: String(BigInt(m.hps) * 86_400n), worker_count: m.anonymous ? null : m.workers })) }
    if (noun === 'status') return {
      services: ['stratum', 'shares', 'miners', 'rewards', 'payouts', 'notifier', 'gateway'].map((name) => ({ name, is_up: !gone(name), since: iso(start - 9 * 86_400_000), detail: gone(name) ? 'no answer within 2 s' : null })),
      nodes: [{ name: 'litecoind-a', is_up: true, height: 2_850_436 }, { name: 'litecoind-b', is_up: true, height: 2_850_436 }],
      stratum: [{ instance: 'stratum-0', session_count: 212, refusing_reason: null }, { instance: 'stratum-1', session_count: 199, refusing_reason: null }], version: '0.1.0',
    }
    if (noun === 'miners' && id) {
      const m = miners.find((one) => one.address === id)
      if (!/^(ltc1|[LM3])[a-zA-Z0-9]{20,}$/.test(id)) return problem(400, 'bad-address', 'Not an address of this coin', `'${id}' is not a litecoin address, expected ltc1…, L…, M….`)
      if (!m) return problem(404, 'unknown-miner', 'No such miner here', 'No share of this address was ever accepted.')
      if (!sub) return miner(m)
      if (sub === 'history') return history(query.get('window') ?? '24h', m.hps, 0.27, 11, false)
      if (sub === 'blocks') { const [rows, next] = page(blocks.filter((b) => b.finder === id), query); return { blocks: rows, next_page_token: next } }
      if (sub === 'credits') { const [rows, next] = page(blocks.slice(1).map((b) => ({ height: b.height, block_hash: b.block_hash, status: b.status, found_time: b.found_time, work: '3936908127739502', amount_atomic: 38_120_441 + b.height % 9973 })), query); return { credits: rows, next_page_token: next } }
      if (sub === 'payouts') { const [rows, next] = page(payouts.filter((p) => p.address === id), query); return { payouts: rows, next_page_token: next } }
      if (sub === 'settings' && method === 'PUT') {
        if (body.revision !== revision) return problem(409, 'conflict', 'Changed meanwhile', 'The settings were changed meanwhile; load them again.')
        if (/^[A-Za-z0-9+/]{80,}={0,2}$/.test(body.proof?.signature ?? '')) {
          for (const key of ['payout_threshold_atomic', 'scheme', 'is_anonymous']) if (key in body) settings[key] = body[key]
          settings.is_threshold_default = settings.payout_threshold_atomic === 1_000_000
          revision += 1
          return { ...settings, revision }
        }
        return problem(403, 'bad-proof', 'Not proven', 'The signature is not by the key of this address.')
      }
      if (sub === 'settings') return { ...settings, revision }
    }
    return problem(404, 'unknown-path', 'No such path', `There is nothing at ${path.slice(0, 200)}.`)
  }

  function handle(request, response) {
    const url = new URL(request.url ?? '/', 'http://localhost')
    if (!url.pathname.startsWith('/api/')) return false
    const chunks = []
    request.on('data', (chunk) => chunks.push(chunk))
    request.on('end', () => {
      let result
      try {
        const text = Buffer.concat(chunks).toString()
        result = answer(request.method, url.pathname, url.searchParams, text ? JSON.parse(text) : {})
      } catch (error) {
        result = problem(500, 'internal', 'The mock failed', String(error))
      }
      const isProblem = Boolean(result.body)
      response.writeHead(isProblem ? result.status : 200, { 'Content-Type': isProblem ? 'application/problem+json' : 'application/json', 'Cache-Control': 'no-store' })
      response.end(JSON.stringify(isProblem ? result.body : result))
    })
    return true
  }

  /** A WebSocket that sends small text frames and reads none but closes: enough for the page's live feed. */
  function upgrade(request, socket) {
    if (!(request.url ?? '').startsWith('/api/v1/ws')) return
    const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
    const send = (message) => {
      const payload = Buffer.from(JSON.stringify(message))
      const head = payload.length < 126 ? Buffer.from([0x81, payload.length]) : Buffer.from([0x81, 126, payload.length >> 8, payload.length & 255])
      if (!socket.destroyed) socket.write(Buffer.concat([head, payload]))
    }
    send({ event: 'hello', topic: null, time: iso(clock()), data: { version: '0.1.0', coin: 'litecoin' } })
    const timer = setInterval(() => {
      const { shares, round } = pool()
      send({ topic: 'pool', event: 'stats', time: iso(clock()), data: { shares, round } })
    }, 3_000)
    if (!isEmpty) send({ topic: 'blocks', event: 'block_progress', time: iso(clock()), data: { ...blocks[1], confirmations: blocks[1].confirmations + 1 } })
    if (!isEmpty && !gone('payouts')) send({ topic: 'payouts', event: 'payout_sent', time: iso(clock()), data: payouts[0] })
    socket.on('data', (data) => { if ((data[0] & 15) === 8) socket.end() })
    for (const event of ['close', 'error', 'end']) socket.on(event, () => { clearInterval(timer); socket.destroy() })
  }

  return { handle, upgrade, sample: { address: miners[4]?.address ?? address(4), blockHash: blocks[3]?.block_hash ?? hex('none') } }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const option = (name, fallback) => { const at = process.argv.indexOf(`--${name}`); return at < 0 ? fallback : process.argv[at + 1] }
  const mock = makeMock({ scenario: option('scenario', 'full') })
  const server = createServer((request, response) => {
    if (!mock.handle(request, response)) { response.writeHead(404); response.end() }
  })
  server.on('upgrade', (request, socket) => mock.upgrade(request, socket))
  server.listen(Number(option('port', '0')), '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port, ...mock.sample })))
}
