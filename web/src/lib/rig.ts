/** What a rig is told: addresses, options and command lines for each algorithm and kind of hardware. */

export type Hardware = 'asic' | 'bitaxe' | 'gpu' | 'cpu'
export interface Target { host: string; port: number; isTls: boolean; user: string; password: string; address: string; worker: string }

const HARDWARE: Record<string, readonly Hardware[]> = {
  scrypt: ['asic', 'cpu'],
  sha256d: ['asic', 'bitaxe', 'cpu'],
  randomx: ['cpu'],
  ethash: ['gpu'],
  etchash: ['gpu'],
}

export function hardwareFor(algorithm: string): readonly Hardware[] {
  return HARDWARE[algorithm] ?? ['asic', 'cpu']
}

export function poolUrl(target: Target): string {
  return `stratum+${target.isTls ? 'ssl' : 'tcp'}://${target.host}:${target.port}`
}

/** The command line of the usual program; null where there is a form to fill in instead. */
export function commandLine(algorithm: string, hardware: Hardware, target: Target): string | null {
  const { host, port, user, password } = target
  if (algorithm === 'randomx') return `xmrig -o ${host}:${port} -u ${user} -p ${password}${target.isTls ? ' --tls' : ''}`
  if (hardware === 'gpu') return `lolMiner --algo ${algorithm.toUpperCase()} --pool ${target.isTls ? 'ssl://' : ''}${host}:${port} --user ${user} --pass ${password}`
  if (hardware === 'cpu') return `minerd -a ${algorithm} -o ${poolUrl(target)} -u ${user} -p ${password}`
  if (hardware === 'asic') return `cgminer ${algorithm === 'scrypt' ? '--scrypt ' : ''}-o ${poolUrl(target)} -u ${user} -p ${password}`
  return null
}

/** The difficulty at which a rig sends a share about every ten seconds: the power of two below it, at least the pool's. */
export function suggestedDifficulty(hps: bigint, difficulty1Work: bigint, min: string, max: string | null): string {
  const exact = (hps * 10n) / (difficulty1Work > 0n ? difficulty1Work : 1n)
  let power = 1n
  while (power * 2n <= exact) power *= 2n
  const least = wholeUp(min)
  const most = max === null ? null : wholeDown(max)
  if (power < least) return least.toString()
  return (most !== null && most > 0n && power > most ? most : power).toString()
}

function wholeDown(decimal: string): bigint {
  return BigInt(/^\d+/.exec(decimal)?.[0] ?? '0')
}

function wholeUp(decimal: string): bigint {
  const whole = wholeDown(decimal)
  return /\.\d*[1-9]/.test(decimal) ? whole + 1n : whole
}
