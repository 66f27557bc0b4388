import { createRouter, createWebHistory, type RouteRecordRaw } from 'vue-router'

/** Places kept for later: /sign-in (accounts) and /operator (the operator's view). */
const routes: RouteRecordRaw[] = [
  { path: '/', name: 'overview', component: () => import('./pages/OverviewPage.vue') },
  { path: '/connect', name: 'connect', component: () => import('./pages/ConnectPage.vue') },
  { path: '/miner/:address', name: 'miner', component: () => import('./pages/MinerPage.vue'), props: true },
  { path: '/blocks', name: 'blocks', component: () => import('./pages/BlocksPage.vue') },
  { path: '/blocks/:hash', name: 'block', component: () => import('./pages/BlockPage.vue'), props: true },
  { path: '/payouts', name: 'payouts', component: () => import('./pages/PayoutsPage.vue') },
  { path: '/leaderboard', name: 'leaderboard', component: () => import('./pages/LeaderboardPage.vue') },
  { path: '/status', name: 'status', component: () => import('./pages/StatusPage.vue') },
  { path: '/:rest(.*)*', name: 'missing', component: () => import('./pages/MissingPage.vue') },
]

export const router = createRouter({
  history: createWebHistory(),
  routes,
  scrollBehavior: (to, from, saved) => saved ?? (to.path === from.path ? false : { top: 0 }),
})
