import { describe, expect, it } from 'vitest'
import { commandLine, hardwareFor, poolUrl, suggestedDifficulty, type Target } from '../src/lib/rig'

const target: Target = { host: 'pool.example', port: 3333, isTls: false, user: 'ltc1qx.rig1', password: 'x', address: 'ltc1qx', worker: 'rig1' }

describe('what a rig is told', () => {
  it('names the scheme by TLS', () => {
    expect(poolUrl(target)).toBe('stratum+tcp://pool.example:3333')
    expect(poolUrl({ ...target, isTls: true })).toBe('stratum+ssl://pool.example:3333')
  })
  it('has a command line for each algorithm', () => {
    expect(commandLine('scrypt', 'cpu', target)).toBe('minerd -a scrypt -o stratum+tcp://pool.example:3333 -u ltc1qx.rig1 -p x')
    expect(commandLine('randomx', 'cpu', { ...target, isTls: true })).toBe('xmrig -o pool.example:3333 -u ltc1qx.rig1 -p x --tls')
    expect(commandLine('sha256d', 'bitaxe', target)).toBeNull()
    expect(hardwareFor('etchash')).toEqual(['gpu'])
  })
  it('suggests the power of two below a share every ten seconds, within the bounds of the pool', () => {
    expect(suggestedDifficulty(9_500_000_000n, 65_537n, '1024', null)).toBe('1048576')
    expect(suggestedDifficulty(1_000n, 65_537n, '1024', null)).toBe('1024')
    expect(suggestedDifficulty(1_000n, 65_537n, '0.000001', null)).toBe('1')
    expect(suggestedDifficulty(10n ** 18n, 65_537n, '1', '2097152')).toBe('2097152')
  })
})
