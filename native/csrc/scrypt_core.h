/* The memory-hard part of scrypt, written once and compiled per vector width.
 *
 * The includer defines:
 *   CORE(name)   a name unique to this width
 *   TARGET       the function attribute that allows the instructions
 *   LANES        blocks per vector: 1 (128 bit), 2 (256 bit) or 4 (512 bit)
 *
 * A 64-byte half of a block is four rows of four words, one row per vector, laid out along the diagonals of the salsa
 * matrix so that a quarter round is the same for all four columns. A vector holds the same row of LANES blocks.
 * `_pair` mixes two such groups side by side: one alone is bound by the latency of its own chain.
 */
#include <string.h>

#define INLINE static inline __attribute__((always_inline)) TARGET

typedef uint32_t CORE(vec) __attribute__((vector_size(16 * LANES), aligned(16 * LANES)));
typedef uint32_t CORE(row) __attribute__((vector_size(16), aligned(16)));

/* One block (of each lane): rows 0..3 are its first half, 4..7 its second. */
typedef struct {
    CORE(vec) r0, r1, r2, r3, r4, r5, r6, r7;
} CORE(group);

typedef struct {
    CORE(vec) a, b, c, d;
} CORE(half);

#if LANES == 1
#define TURN(v, i, j, k, l) __builtin_shufflevector(v, v, i, j, k, l)
#elif LANES == 2
#define TURN(v, i, j, k, l) __builtin_shufflevector(v, v, i, j, k, l, 4 + i, 4 + j, 4 + k, 4 + l)
#else
#define TURN(v, i, j, k, l)                                                                                      \
    __builtin_shufflevector(v, v, i, j, k, l, 4 + i, 4 + j, 4 + k, 4 + l, 8 + i, 8 + j, 8 + k, 8 + l, 12 + i, 12 + j, \
                            12 + k, 12 + l)
#endif
#define TURN1(v) TURN(v, 3, 0, 1, 2)
#define TURN2(v) TURN(v, 2, 3, 0, 1)
#define TURN3(v) TURN(v, 1, 2, 3, 0)

INLINE CORE(vec) CORE(rotated)(CORE(vec) x, const int bits) {
    return x << bits | x >> (32 - bits);
}

/* Two rounds of salsa20: along the columns, then along the rows. */
INLINE void CORE(double_round)(CORE(half) *x) {
    x->b ^= CORE(rotated)(x->a + x->d, 7);
    x->c ^= CORE(rotated)(x->b + x->a, 9);
    x->d ^= CORE(rotated)(x->c + x->b, 13);
    x->a ^= CORE(rotated)(x->d + x->c, 18);
    x->b = TURN1(x->b);
    x->c = TURN2(x->c);
    x->d = TURN3(x->d);
    x->d ^= CORE(rotated)(x->a + x->b, 7);
    x->c ^= CORE(rotated)(x->d + x->a, 9);
    x->b ^= CORE(rotated)(x->c + x->d, 13);
    x->a ^= CORE(rotated)(x->b + x->c, 18);
    x->b = TURN3(x->b);
    x->c = TURN2(x->c);
    x->d = TURN1(x->d);
}

#define MIX_IN(x, g, p, q, r, s, t, u, v, w)   \
    (g)->p ^= (g)->t, (g)->q ^= (g)->u, (g)->r ^= (g)->v, (g)->s ^= (g)->w, x = (CORE(half)){(g)->p, (g)->q, (g)->r, (g)->s}
#define ADD_BACK(x, g, p, q, r, s) (g)->p += x.a, (g)->q += x.b, (g)->r += x.c, (g)->s += x.d

INLINE void CORE(block_mix)(CORE(group) *g) {
    CORE(half) x;
    MIX_IN(x, g, r0, r1, r2, r3, r4, r5, r6, r7);
    CORE(double_round)(&x);
    CORE(double_round)(&x);
    CORE(double_round)(&x);
    CORE(double_round)(&x);
    ADD_BACK(x, g, r0, r1, r2, r3);
    MIX_IN(x, g, r4, r5, r6, r7, r0, r1, r2, r3);
    CORE(double_round)(&x);
    CORE(double_round)(&x);
    CORE(double_round)(&x);
    CORE(double_round)(&x);
    ADD_BACK(x, g, r4, r5, r6, r7);
}

INLINE void CORE(block_mix_pair)(CORE(group) *g, CORE(group) *h) {
    CORE(half) x, y;
    MIX_IN(x, g, r0, r1, r2, r3, r4, r5, r6, r7);
    MIX_IN(y, h, r0, r1, r2, r3, r4, r5, r6, r7);
    for (int i = 0; i < 4; i++) {
        CORE(double_round)(&x);
        CORE(double_round)(&y);
    }
    ADD_BACK(x, g, r0, r1, r2, r3);
    ADD_BACK(y, h, r0, r1, r2, r3);
    MIX_IN(x, g, r4, r5, r6, r7, r0, r1, r2, r3);
    MIX_IN(y, h, r4, r5, r6, r7, r0, r1, r2, r3);
    for (int i = 0; i < 4; i++) {
        CORE(double_round)(&x);
        CORE(double_round)(&y);
    }
    ADD_BACK(x, g, r4, r5, r6, r7);
    ADD_BACK(y, h, r4, r5, r6, r7);
}

/* Row `k` of a stored group, each lane taken from the entry that lane asks for. */
INLINE CORE(vec) CORE(gathered)(const CORE(group) *const entries[LANES], const int k) {
#define ROW(lane) (((const CORE(row) *)((const CORE(vec) *)entries[lane] + k))[lane])
#if LANES == 1
    return ROW(0);
#elif LANES == 2
    return __builtin_shufflevector(ROW(0), ROW(1), 0, 1, 2, 3, 4, 5, 6, 7);
#else
    typedef uint32_t two_rows __attribute__((vector_size(32)));
    two_rows low = __builtin_shufflevector(ROW(0), ROW(1), 0, 1, 2, 3, 4, 5, 6, 7);
    two_rows high = __builtin_shufflevector(ROW(2), ROW(3), 0, 1, 2, 3, 4, 5, 6, 7);
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
#undef ROW
}

/* XOR into the group the entry that its own content names, lane by lane. */
INLINE void CORE(look_up)(CORE(group) *g, const CORE(group) *scratch) {
    const CORE(group) *entries[LANES];
    entries[0] = scratch + (g->r4[0] & 1023);
#if LANES > 1
    entries[1] = scratch + (g->r4[4] & 1023);
#endif
#if LANES > 2
    entries[2] = scratch + (g->r4[8] & 1023);
    entries[3] = scratch + (g->r4[12] & 1023);
#endif
    g->r0 ^= CORE(gathered)(entries, 0);
    g->r1 ^= CORE(gathered)(entries, 1);
    g->r2 ^= CORE(gathered)(entries, 2);
    g->r3 ^= CORE(gathered)(entries, 3);
    g->r4 ^= CORE(gathered)(entries, 4);
    g->r5 ^= CORE(gathered)(entries, 5);
    g->r6 ^= CORE(gathered)(entries, 6);
    g->r7 ^= CORE(gathered)(entries, 7);
}

/* Word (4k + i) of the diagonal layout is word (4k + i) * 5 mod 16 of the half. */
INLINE void CORE(load)(CORE(group) *g, const uint32_t *blocks) {
    uint32_t words[8][4 * LANES] __attribute__((aligned(64)));
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 16; i++) {
            for (int lane = 0; lane < LANES; lane++) {
                words[4 * half + i / 4][4 * lane + i % 4] = blocks[32 * lane + 16 * half + i * 5 % 16];
            }
        }
    }
    memcpy(g, words, sizeof *g);
}

INLINE void CORE(store)(uint32_t *blocks, const CORE(group) *g) {
    uint32_t words[8][4 * LANES] __attribute__((aligned(64)));
    memcpy(words, g, sizeof *g);
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 16; i++) {
            for (int lane = 0; lane < LANES; lane++) {
                blocks[32 * lane + 16 * half + i * 5 % 16] = words[4 * half + i / 4][4 * lane + i % 4];
            }
        }
    }
}

static TARGET void CORE(mix)(uint32_t *blocks, void *memory) {
    CORE(group) *scratch = memory;
    CORE(group) g;
    CORE(load)(&g, blocks);
    for (int i = 0; i < 1024; i++) {
        scratch[i] = g;
        CORE(block_mix)(&g);
    }
    for (int i = 0; i < 1024; i++) {
        CORE(look_up)(&g, scratch);
        CORE(block_mix)(&g);
    }
    CORE(store)(blocks, &g);
}

static TARGET void CORE(mix_pair)(uint32_t *blocks, void *memory) {
    CORE(group) *scratch = memory, *other = scratch + 1024;
    CORE(group) g, h;
    CORE(load)(&g, blocks);
    CORE(load)(&h, blocks + 32 * LANES);
    for (int i = 0; i < 1024; i++) {
        scratch[i] = g;
        other[i] = h;
        CORE(block_mix_pair)(&g, &h);
    }
    for (int i = 0; i < 1024; i++) {
        CORE(look_up)(&g, scratch);
        CORE(look_up)(&h, other);
        CORE(block_mix_pair)(&g, &h);
    }
    CORE(store)(blocks, &g);
    CORE(store)(blocks + 32 * LANES, &h);
}

#undef INLINE
#undef TURN
#undef TURN1
#undef TURN2
#undef TURN3
#undef MIX_IN
#undef ADD_BACK
#undef CORE
#undef TARGET
#undef LANES
