/* Before the first paint: the theme a person chose here, else the system's. */
try {
  const chosen = localStorage.getItem('lodepool.theme')
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen
} catch {
  /* Storage may be forbidden: the system's theme then. */
}
