/* SHA-256 with the SHA extensions of x86. One hash is bound by the latency of sha256rnds2, so two independent hashes
 * computed side by side take little longer than one. */
#include "sha256.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define NI __attribute__((target("sha,sse4.1,ssse3")))
#define NI_INLINE static inline __attribute__((always_inline, target("sha,sse4.1,ssse3")))

/* One hash under way: the state as the instructions want it, and the last sixteen words of the schedule. */
typedef struct {
    __m128i abef, cdgh, w[4];
} lane;

typedef struct {
    __m128i abef, cdgh;
} state_pair;

NI_INLINE state_pair state_load(const uint32_t state[8]) {
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);
    return (state_pair){_mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xF0)};
}

/* Turn a state into the first eight words of a message (or of a result). */
NI_INLINE void state_words(const lane *x, __m128i *abcd, __m128i *efgh) {
    __m128i feba = _mm_shuffle_epi32(x->abef, 0x1B);
    __m128i dchg = _mm_shuffle_epi32(x->cdgh, 0xB1);
    *abcd = _mm_blend_epi16(feba, dchg, 0xF0);
    *efgh = _mm_alignr_epi8(dchg, feba, 8);
}

NI_INLINE void state_store(uint32_t state[8], const lane *x) {
    __m128i abcd, efgh;
    state_words(x, &abcd, &efgh);
    _mm_storeu_si128((__m128i *)state, abcd);
    _mm_storeu_si128((__m128i *)(state + 4), efgh);
}

NI_INLINE void four_rounds(lane *x, __m128i wk) {
    x->cdgh = _mm_sha256rnds2_epu32(x->cdgh, x->abef, wk);
    x->abef = _mm_sha256rnds2_epu32(x->abef, x->cdgh, _mm_shuffle_epi32(wk, 0x0E));
}

/* Rounds 4g to 4g + 3, and words 4g + 16 to 4g + 19 of the schedule while they are needed. */
NI_INLINE void quad(lane *x, const int g) {
    __m128i now = x->w[g & 3];
    if (g < 12) {
        __m128i near = x->w[(g + 3) & 3];
        __m128i next = _mm_sha256msg1_epu32(now, x->w[(g + 1) & 3]);
        next = _mm_add_epi32(next, _mm_alignr_epi8(near, x->w[(g + 2) & 3], 4));
        x->w[g & 3] = _mm_sha256msg2_epu32(next, near);
    }
    four_rounds(x, _mm_add_epi32(now, _mm_load_si128((const __m128i *)(LODE_SHA256_K + 4 * g))));
}

#define SIXTEEN(STEP) \
    STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) \
    STEP(8) STEP(9) STEP(10) STEP(11) STEP(12) STEP(13) STEP(14) STEP(15)

NI_INLINE void add_state(lane *x, state_pair before) {
    x->abef = _mm_add_epi32(x->abef, before.abef);
    x->cdgh = _mm_add_epi32(x->cdgh, before.cdgh);
}

NI_INLINE void block(lane *x) {
    state_pair before = {x->abef, x->cdgh};
#define STEP(g) quad(x, g);
    SIXTEEN(STEP)
#undef STEP
    add_state(x, before);
}

NI_INLINE void block_pair(lane *x, lane *y) {
    state_pair before_x = {x->abef, x->cdgh}, before_y = {y->abef, y->cdgh};
#define STEP(g) quad(x, g); quad(y, g);
    SIXTEEN(STEP)
#undef STEP
    add_state(x, before_x);
    add_state(y, before_y);
}

#define PADDING_WK(g) _mm_load_si128((const __m128i *)(LODE_SHA256_PADDING64_WK + 4 * (g)))

NI_INLINE void padding64(lane *x) {
    state_pair before = {x->abef, x->cdgh};
#define STEP(g) four_rounds(x, PADDING_WK(g));
    SIXTEEN(STEP)
#undef STEP
    add_state(x, before);
}

NI_INLINE void padding64_pair(lane *x, lane *y) {
    state_pair before_x = {x->abef, x->cdgh}, before_y = {y->abef, y->cdgh};
#define STEP(g) four_rounds(x, PADDING_WK(g)); four_rounds(y, PADDING_WK(g));
    SIXTEEN(STEP)
#undef STEP
    add_state(x, before_x);
    add_state(y, before_y);
}

/* Make the finished hash the 32-byte message of a new one. */
NI_INLINE void start_again(lane *x) {
    state_pair iv = state_load(LODE_SHA256_IV);
    state_words(x, &x->w[0], &x->w[1]);
    x->w[2] = _mm_set_epi32(0, 0, 0, (int)0x80000000);
    x->w[3] = _mm_set_epi32(256, 0, 0, 0);
    x->abef = iv.abef;
    x->cdgh = iv.cdgh;
}

/* Make the finished hash and `sibling` the 64-byte message of a new one. */
NI_INLINE void start_merkle(lane *x, const uint32_t sibling[8]) {
    state_pair iv = state_load(LODE_SHA256_IV);
    state_words(x, &x->w[0], &x->w[1]);
    x->w[2] = _mm_loadu_si128((const __m128i *)sibling);
    x->w[3] = _mm_loadu_si128((const __m128i *)(sibling + 4));
    x->abef = iv.abef;
    x->cdgh = iv.cdgh;
}

NI_INLINE void lane_from(lane *x, const uint32_t state[8]) {
    state_pair loaded = state_load(state);
    x->abef = loaded.abef;
    x->cdgh = loaded.cdgh;
}

NI static void ni_compress(uint32_t state[8], const uint8_t *blocks, size_t count) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    lane x;
    lane_from(&x, state);
    for (; count; count--, blocks += 64) {
        x.w[0] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)blocks), swap);
        x.w[1] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(blocks + 16)), swap);
        x.w[2] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(blocks + 32)), swap);
        x.w[3] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(blocks + 48)), swap);
        block(&x);
    }
    state_store(state, &x);
}

NI static void ni_hash_again(uint32_t hash[8]) {
    lane x;
    lane_from(&x, hash);
    start_again(&x);
    block(&x);
    state_store(hash, &x);
}

NI static void ni_merkle_climb(uint32_t hash[8], const uint32_t (*branch)[8], size_t depth) {
    lane x;
    lane_from(&x, hash);
    for (size_t i = 0; i < depth; i++) {
        start_merkle(&x, branch[i]);
        block(&x);
        padding64(&x);
        start_again(&x);
        block(&x);
    }
    state_store(hash, &x);
}

NI static void ni_merkle_climb_pair(uint32_t hashes[2][8], const uint32_t (*branch)[8], size_t depth) {
    lane x, y;
    lane_from(&x, hashes[0]);
    lane_from(&y, hashes[1]);
    for (size_t i = 0; i < depth; i++) {
        start_merkle(&x, branch[i]);
        start_merkle(&y, branch[i]);
        block_pair(&x, &y);
        padding64_pair(&x, &y);
        start_again(&x);
        start_again(&y);
        block_pair(&x, &y);
    }
    state_store(hashes[0], &x);
    state_store(hashes[1], &y);
}

NI_INLINE void start_header_tail(lane *x, const uint32_t tail[3], uint32_t nonce_word) {
    x->w[0] = _mm_set_epi32((int)nonce_word, (int)tail[2], (int)tail[1], (int)tail[0]);
    x->w[1] = _mm_set_epi32(0, 0, 0, (int)0x80000000);
    x->w[2] = _mm_setzero_si128();
    x->w[3] = _mm_set_epi32(640, 0, 0, 0);
}

NI static void ni_header(uint32_t hash[8], const uint32_t header[20]) {
    lane x;
    lane_from(&x, LODE_SHA256_IV);
    for (int i = 0; i < 4; i++) {
        x.w[i] = _mm_loadu_si128((const __m128i *)(header + 4 * i));
    }
    block(&x);
    start_header_tail(&x, header + 16, header[19]);
    block(&x);
    start_again(&x);
    block(&x);
    state_store(hash, &x);
}

NI static void ni_scan(uint32_t hashes[LODE_SCAN_LANES_MAX][8], const uint32_t midstate[8], const uint32_t tail[3],
                       uint32_t nonce) {
    lane x, y;
    lane_from(&x, midstate);
    lane_from(&y, midstate);
    start_header_tail(&x, tail, lode_swap32(nonce));
    start_header_tail(&y, tail, lode_swap32(nonce + 1));
    block_pair(&x, &y);
    start_again(&x);
    start_again(&y);
    block_pair(&x, &y);
    state_store(hashes[0], &x);
    state_store(hashes[1], &y);
}

static const lode_sha256_backend SHA_NI = {
    .name = "sha-ni",
    .compress = ni_compress,
    .hash_again = ni_hash_again,
    .merkle_climb = ni_merkle_climb,
    .merkle_climb_pair = ni_merkle_climb_pair,
    .header = ni_header,
    .scan = ni_scan,
    .scan_lanes = 2,
};

const lode_sha256_backend *lode_sha256_ni(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) {
        return NULL;
    }
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_SHA)) {
        return NULL;
    }
    return &SHA_NI;
}

#else

const lode_sha256_backend *lode_sha256_ni(void) {
    return NULL;
}

#endif
