/** The shapes of the API's answers, as /api/v1/openapi.json describes them. Amounts are whole atomic units. */

export type Whole = number | string
export type BlockStatus = 'candidate' | 'immature' | 'mature' | 'orphaned'
export type PayoutStatus = 'reserved' | 'signed' | 'broadcast' | 'confirmed' | 'review' | 'voided'

export interface Hashrates { hps_1m: Whole; hps_5m: Whole; hps_15m: Whole; hps_1h: Whole; hps_24h: Whole }
export interface ShareCounts { accepted: number; stale: number; duplicate: number; low_difficulty: number; invalid: number }
export interface BlockCounts { candidate: number; immature: number; mature: number; orphaned: number }

export interface Block {
  height: number
  block_hash: string
  status: BlockStatus
  confirmations: number
  maturity_blocks: number
  found_time: string
  finder: string
  worker: string
  scheme: string
  reward_atomic: number
  fees_atomic: number
  pool_fee_atomic: number
  remainder_atomic: number
  coinbase_txid: string
  network_work: string
  round_work: string
  window_work: string
  effort_percent: string | null
}
export interface BlockCredit { address: string; work: string; amount_atomic: number }
export interface BlockDetail extends Block { credits: BlockCredit[] }
export interface BlockPage { blocks: Block[]; counts?: BlockCounts; next_page_token: string | null }

export interface Explorer { tx_url: string | null; block_url: string | null; address_url: string | null }
export interface PoolShares {
  hashrates: Hashrates
  counts: ShareCounts
  miner_online_count: number
  worker_online_count: number
  best_share: { hash_work: string; address: string } | null
  last_share_time: string | null
}
export interface PoolRound { start_height: number; round_work: string; network_work: string | null; effort_percent: string | null }
export interface Payer {
  is_active: boolean
  is_held: boolean
  reason: string | null
  batches_confirmed: number
  payouts_confirmed: number
  paid_atomic: number
  batches_in_review: number
  accounts_isolated: number
}
export interface StratumInfo {
  host: string | null
  port: number
  is_tls: boolean
  difficulty_start: string
  difficulty_min: string
  difficulty_max: string | null
  schemes_allowed: string[]
  password_options: string[]
}
export interface Luck { blocks_7d: number; effort_percent_mean_7d: string | null; effort_percent_mean_100: string | null }
export interface Pool {
  name: string
  coin: string
  coin_name: string
  ticker: string
  decimals: number
  network: string
  algorithm: string
  block_interval_s: number
  maturity_blocks: number
  difficulty_1_work: string
  scheme: string
  fee_ppm: number
  payout_threshold_atomic: number
  stratum_port: number
  explorer: Explorer
  shares: PoolShares | null
  round: PoolRound | null
  blocks: { counts: BlockCounts; last: Block | null } | null
  chain: { height: number; work: string } | null
  payer: Payer | null
  stratum?: StratumInfo | null
  luck?: Luck | null
  degraded: string[]
}

export interface HistoryPoint { time: string; hps: Whole; accepted: number; rejected: number; worker_count?: number | null; work?: string }
export interface History {
  window: string
  interval_s: number
  points: HistoryPoint[]
  blocks?: { time: string; height: number; effort_percent: string | null }[] | null
}

export interface Worker {
  worker: string
  presence: 'online' | 'offline' | null
  scheme: string | null
  user_agent: string | null
  create_time: string | null
  last_share_time: string | null
  hashrates: Hashrates | null
  counts: ShareCounts | null
  best_hash_work: string | null
  last_reject?: { reason: string; time: string } | null
}
export interface Balance { immature_atomic: number; payable_atomic: number; reserved_atomic: number; paid_atomic: number }
export interface MinerShares { hashrates: Hashrates; counts: ShareCounts; total_work: string; best_hash_work: string }
export interface Miner {
  address: string
  coin: string
  account: {
    create_time: string | null
    last_share_time: string | null
    worker_count: number
    worker_online_count: number
    payout_threshold_atomic: number
    is_threshold_default: boolean
  } | null
  shares: MinerShares | null
  balance: Balance | null
  workers: Worker[] | null
  has_more_workers: boolean
  estimate?: { atomic_per_day: number | null; basis: string } | null
  uncertainty?: { hps_1h_low: Whole; hps_1h_high: Whole; share_count_1h: number } | null
  degraded: string[]
}
export interface Credit { height: number; block_hash: string; status: BlockStatus; found_time: string; work: string; amount_atomic: number }
export interface CreditPage { credits: Credit[]; next_page_token: string | null }
export interface Payout {
  payout_id: string
  batch_id: string | null
  address: string
  amount_atomic: number
  status: PayoutStatus | null
  txid: string | null
  create_time: string
  confirm_time: string | null
}
export interface PayoutPage { payouts: Payout[]; next_page_token: string | null }
export interface Settings {
  payout_threshold_atomic: number
  is_threshold_default: boolean
  scheme: string | null
  is_anonymous: boolean
  revision: number
  can_choose_scheme: boolean
  /** How a change can be proven; empty for an address that cannot. */
  proof_kinds?: 'signature'[]
}
export interface Leader { rank: number; address: string | null; hps: Whole; work: string; worker_count: number | null }
export interface Status {
  services: { name: string; is_up: boolean; since: string | null; detail: string | null }[]
  nodes: { name: string; is_up: boolean; height: number | null }[]
  stratum: { instance: string; session_count: number; refusing_reason: string | null }[]
  version: string
}
export interface Problem { type: string; title: string; status: number; detail: string }
