import vue from '@vitejs/plugin-vue'
import { defineConfig, type Plugin } from 'vite'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { makeMock } from './dev/mock.mjs'

const OUTPUT = resolve(import.meta.dirname, '../gateway/static')
const COMPRESSIBLE = /\.(html|js|css|svg|json|txt|webmanifest)$/
/** Smaller files fit into one packet either way. */
const COMPRESS_BYTES_MIN = 512

/** Put a .br and a .gz beside every file that gains from it, so that nothing is compressed while serving. */
function precompress(): Plugin {
  return {
    name: 'precompress',
    apply: 'build',
    closeBundle() {
      for (const entry of readdirSync(OUTPUT, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !COMPRESSIBLE.test(entry.name)) continue
        const path = join(entry.parentPath, entry.name)
        const bytes = readFileSync(path)
        if (bytes.length < COMPRESS_BYTES_MIN) continue
        const brotli = { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } }
        writeFileSync(`${path}.br`, brotliCompressSync(bytes, brotli))
        writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }))
      }
    },
  }
}

/** Answer the API's paths with generated data while developing; LODEPOOL_API names a real gateway instead. */
function mockApi(): Plugin {
  return {
    name: 'mock-api',
    configureServer(server) {
      if (process.env['LODEPOOL_API']) return
      const mock = makeMock()
      server.middlewares.use((request, response, next) => {
        if (!mock.handle(request, response)) next()
      })
      server.httpServer?.on('upgrade', (request, socket) => mock.upgrade(request, socket))
    },
  }
}

const api = process.env['LODEPOOL_API']

export default defineConfig({
  plugins: [vue(), precompress(), mockApi()],
  define: {
    __VUE_OPTIONS_API__: false,
    __VUE_PROD_DEVTOOLS__: false,
    __VUE_I18N_LEGACY_API__: false,
    __INTLIFY_PROD_DEVTOOLS__: false,
  },
  server: api ? { proxy: { '/api': { target: api, ws: true } } } : {},
  build: {
    outDir: OUTPUT,
    emptyOutDir: true,
    assetsInlineLimit: 0,
    target: 'es2022',
    modulePreload: { polyfill: false },
    rolldownOptions: { checks: { pluginTimings: false } },
  },
  test: { include: ['tests/**/*.test.ts'] },
} as Parameters<typeof defineConfig>[0])
