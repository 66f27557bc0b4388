/** Russian has three forms for whole numbers: 1 блок, 2 блока, 5 блоков. */
export function russianForm(count: number, formCount: number): number {
  const n = Math.abs(Math.trunc(count))
  const last = n % 10
  const isTeen = n % 100 > 10 && n % 100 < 20
  const form = !isTeen && last === 1 ? 0 : !isTeen && last >= 2 && last <= 4 ? 1 : 2
  return Math.min(form, formCount - 1)
}
