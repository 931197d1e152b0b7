/* Work on bytes without Python objects: MD5, base64, varints, decimal numbers, growing buffers.
 *
 * Nothing here needs the GIL, raises an error or keeps a reference. native.pyx calls it. Vector code is for x86-64 with
 * AVX2, chosen when the module is loaded. All other machines, also big-endian ones, use the plain code.
 */
#ifndef KPLPY_KERNELS_H
#define KPLPY_KERNELS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define KPL_X86 1
#include <immintrin.h>
#else
#define KPL_X86 0
#endif

#define KPL_PLAIN 0
#define KPL_AVX2 1
#define KPL_AVX512 2

static int kpl_vectors = KPL_PLAIN; /* which code runs */

/* ---- the clock ---- */

#if defined(__linux__)
#define KPL_HAS_CLOCK 1
/* As time.monotonic() on Linux, in seconds. */
static inline double kpl_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
#else
#define KPL_HAS_CLOCK 0
static inline double kpl_now(void) { return 0.0; }
#endif

/* ---- the processor's cache ---- */

/* Begin to load what is at p, which is read soon. p may be anything. */
static inline void kpl_prefetch(const void *p) {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(p);
    __builtin_prefetch((const char *)p + 64);
#endif
}

/* ---- numbers in bytes ---- */

static inline uint32_t kpl_load_le32(const uint8_t *p) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
#else
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
#endif
}

static inline void kpl_store_le32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static inline uint64_t kpl_load_be64(const uint8_t *p) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static inline void kpl_store_be64(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static inline size_t kpl_varint_size(uint64_t n) {
    size_t size = 1;
    while (n >= 0x80)
        n >>= 7, size++;
    return size;
}

/* Write n at p, and return the place after it. */
static inline uint8_t *kpl_varint(uint8_t *p, uint64_t n) {
    while (n >= 0x80)
        *p++ = (uint8_t)(n | 0x80), n >>= 7;
    *p++ = (uint8_t)n;
    return p;
}

/* ---- MD5 (RFC 1321) ---- */

#define F1(b, c, d) ((d) ^ ((b) & ((c) ^ (d))))
#define F2(b, c, d) ((c) ^ ((d) & ((b) ^ (c))))
#define F3(b, c, d) ((b) ^ (c) ^ (d))
#define F4(b, c, d) ((c) ^ ((b) | ~(d)))

/* The same text serves numbers and vectors of numbers. */
#define STEP(f, a, b, c, d, w, k, r)                                                                                   \
    a += f(b, c, d) + w + k;                                                                                           \
    a = ((a << r) | (a >> (32 - r))) + b;

/* clang-format off */
#define MD5_STEPS                                                                                                     \
    STEP(F1, a, b, c, d, W(0), 0xd76aa478u, 7) STEP(F1, d, a, b, c, W(1), 0xe8c7b756u, 12)                            \
    STEP(F1, c, d, a, b, W(2), 0x242070dbu, 17) STEP(F1, b, c, d, a, W(3), 0xc1bdceeeu, 22)                           \
    STEP(F1, a, b, c, d, W(4), 0xf57c0fafu, 7) STEP(F1, d, a, b, c, W(5), 0x4787c62au, 12)                            \
    STEP(F1, c, d, a, b, W(6), 0xa8304613u, 17) STEP(F1, b, c, d, a, W(7), 0xfd469501u, 22)                           \
    STEP(F1, a, b, c, d, W(8), 0x698098d8u, 7) STEP(F1, d, a, b, c, W(9), 0x8b44f7afu, 12)                            \
    STEP(F1, c, d, a, b, W(10), 0xffff5bb1u, 17) STEP(F1, b, c, d, a, W(11), 0x895cd7beu, 22)                         \
    STEP(F1, a, b, c, d, W(12), 0x6b901122u, 7) STEP(F1, d, a, b, c, W(13), 0xfd987193u, 12)                          \
    STEP(F1, c, d, a, b, W(14), 0xa679438eu, 17) STEP(F1, b, c, d, a, W(15), 0x49b40821u, 22)                         \
    STEP(F2, a, b, c, d, W(1), 0xf61e2562u, 5) STEP(F2, d, a, b, c, W(6), 0xc040b340u, 9)                             \
    STEP(F2, c, d, a, b, W(11), 0x265e5a51u, 14) STEP(F2, b, c, d, a, W(0), 0xe9b6c7aau, 20)                          \
    STEP(F2, a, b, c, d, W(5), 0xd62f105du, 5) STEP(F2, d, a, b, c, W(10), 0x02441453u, 9)                            \
    STEP(F2, c, d, a, b, W(15), 0xd8a1e681u, 14) STEP(F2, b, c, d, a, W(4), 0xe7d3fbc8u, 20)                          \
    STEP(F2, a, b, c, d, W(9), 0x21e1cde6u, 5) STEP(F2, d, a, b, c, W(14), 0xc33707d6u, 9)                            \
    STEP(F2, c, d, a, b, W(3), 0xf4d50d87u, 14) STEP(F2, b, c, d, a, W(8), 0x455a14edu, 20)                           \
    STEP(F2, a, b, c, d, W(13), 0xa9e3e905u, 5) STEP(F2, d, a, b, c, W(2), 0xfcefa3f8u, 9)                            \
    STEP(F2, c, d, a, b, W(7), 0x676f02d9u, 14) STEP(F2, b, c, d, a, W(12), 0x8d2a4c8au, 20)                          \
    STEP(F3, a, b, c, d, W(5), 0xfffa3942u, 4) STEP(F3, d, a, b, c, W(8), 0x8771f681u, 11)                            \
    STEP(F3, c, d, a, b, W(11), 0x6d9d6122u, 16) STEP(F3, b, c, d, a, W(14), 0xfde5380cu, 23)                         \
    STEP(F3, a, b, c, d, W(1), 0xa4beea44u, 4) STEP(F3, d, a, b, c, W(4), 0x4bdecfa9u, 11)                            \
    STEP(F3, c, d, a, b, W(7), 0xf6bb4b60u, 16) STEP(F3, b, c, d, a, W(10), 0xbebfbc70u, 23)                          \
    STEP(F3, a, b, c, d, W(13), 0x289b7ec6u, 4) STEP(F3, d, a, b, c, W(0), 0xeaa127fau, 11)                           \
    STEP(F3, c, d, a, b, W(3), 0xd4ef3085u, 16) STEP(F3, b, c, d, a, W(6), 0x04881d05u, 23)                           \
    STEP(F3, a, b, c, d, W(9), 0xd9d4d039u, 4) STEP(F3, d, a, b, c, W(12), 0xe6db99e5u, 11)                           \
    STEP(F3, c, d, a, b, W(15), 0x1fa27cf8u, 16) STEP(F3, b, c, d, a, W(2), 0xc4ac5665u, 23)                          \
    STEP(F4, a, b, c, d, W(0), 0xf4292244u, 6) STEP(F4, d, a, b, c, W(7), 0x432aff97u, 10)                            \
    STEP(F4, c, d, a, b, W(14), 0xab9423a7u, 15) STEP(F4, b, c, d, a, W(5), 0xfc93a039u, 21)                          \
    STEP(F4, a, b, c, d, W(12), 0x655b59c3u, 6) STEP(F4, d, a, b, c, W(3), 0x8f0ccc92u, 10)                           \
    STEP(F4, c, d, a, b, W(10), 0xffeff47du, 15) STEP(F4, b, c, d, a, W(1), 0x85845dd1u, 21)                          \
    STEP(F4, a, b, c, d, W(8), 0x6fa87e4fu, 6) STEP(F4, d, a, b, c, W(15), 0xfe2ce6e0u, 10)                           \
    STEP(F4, c, d, a, b, W(6), 0xa3014314u, 15) STEP(F4, b, c, d, a, W(13), 0x4e0811a1u, 21)                          \
    STEP(F4, a, b, c, d, W(4), 0xf7537e82u, 6) STEP(F4, d, a, b, c, W(11), 0xbd3af235u, 10)                           \
    STEP(F4, c, d, a, b, W(2), 0x2ad7d2bbu, 15) STEP(F4, b, c, d, a, W(9), 0xeb86d391u, 21)
/* clang-format on */

static const uint32_t KPL_MD5_START[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};

static void kpl_md5_blocks(uint32_t s[4], const uint8_t *p, size_t count) {
    uint32_t a = s[0], b = s[1], c = s[2], d = s[3];
#define W(i) kpl_load_le32(p + 4 * (i))
    while (count--) {
        uint32_t a0 = a, b0 = b, c0 = c, d0 = d;
        MD5_STEPS
        a += a0, b += b0, c += c0, d += d0;
        p += 64;
    }
#undef W
    s[0] = a, s[1] = b, s[2] = c, s[3] = d;
}

/* Write the padded end of a message of `size` bytes, of which `left` < 64 are at `rest`. Return its blocks: 1 or 2. */
static size_t kpl_md5_end(uint8_t end[128], const uint8_t *rest, size_t left, uint64_t size) {
    size_t blocks = left < 56 ? 1 : 2;
    memset(end, 0, 64 * blocks);
    if (left)
        memcpy(end, rest, left);
    end[left] = 0x80;
    kpl_store_le32(end + 64 * blocks - 8, (uint32_t)(size << 3));
    kpl_store_le32(end + 64 * blocks - 4, (uint32_t)(size >> 29));
    return blocks;
}

static void kpl_md5(const uint8_t *p, size_t size, uint8_t digest[16]) {
    uint32_t s[4];
    uint8_t end[128];
    memcpy(s, KPL_MD5_START, sizeof s);
    if (size >= 64)
        kpl_md5_blocks(s, p, size / 64);
    size_t blocks = kpl_md5_end(end, size ? p + (size & ~(size_t)63) : p, size & 63, size);
    kpl_md5_blocks(s, end, blocks);
    for (int i = 0; i < 4; i++)
        kpl_store_le32(digest + 4 * i, s[i]);
}

typedef struct {
    const uint8_t *message;
    size_t size;
    uint8_t *digest; /* 16 bytes */
} kpl_job;

#if KPL_X86

/* Eight messages side by side, each in its own place of a vector. One message alone cannot be split: each step of MD5
 * needs the step before. */
#define ABREAST 8
typedef uint32_t kpl_vector __attribute__((vector_size(4 * ABREAST)));

#define MD5_ABREAST(NAME, TARGET)                                                                                      \
    __attribute__((target(TARGET))) static void NAME(kpl_vector s[4], const uint8_t *p[ABREAST],                      \
                                                     const size_t step[ABREAST], size_t count) {                      \
        kpl_vector a = s[0], b = s[1], c = s[2], d = s[3];                                                             \
        while (count--) {                                                                                              \
            kpl_vector words[16];                                                                                      \
            for (int i = 0; i < 16; i++)                                                                               \
                words[i] = (kpl_vector){kpl_load_le32(p[0] + 4 * i), kpl_load_le32(p[1] + 4 * i),                      \
                                        kpl_load_le32(p[2] + 4 * i), kpl_load_le32(p[3] + 4 * i),                      \
                                        kpl_load_le32(p[4] + 4 * i), kpl_load_le32(p[5] + 4 * i),                      \
                                        kpl_load_le32(p[6] + 4 * i), kpl_load_le32(p[7] + 4 * i)};                     \
            kpl_vector a0 = a, b0 = b, c0 = c, d0 = d;                                                                 \
            MD5_STEPS                                                                                                  \
            a += a0, b += b0, c += c0, d += d0;                                                                        \
            for (int i = 0; i < ABREAST; i++)                                                                          \
                p[i] += step[i];                                                                                       \
        }                                                                                                              \
        s[0] = a, s[1] = b, s[2] = c, s[3] = d;                                                                        \
    }

#define W(i) words[i]
MD5_ABREAST(kpl_md5_avx2, "avx2")
MD5_ABREAST(kpl_md5_avx512, "avx2,avx512f,avx512vl")
#undef W

/* One place of the vector. stage: what `left` blocks at `at` are. */
typedef struct {
    kpl_job *job;
    size_t left;
    enum { IDLE, BODY, END } stage;
    uint8_t end[128];
} kpl_place;

static void kpl_md5_side_by_side(kpl_job *jobs, size_t count) {
    static const uint8_t nothing[64] = {0};
    union {
        kpl_vector vectors[4];
        uint32_t words[4][ABREAST];
    } s;
    const uint8_t *at[ABREAST];
    size_t step[ABREAST]; /* 0 for an idle place, which reads `nothing` again and again */
    kpl_place places[ABREAST];
    size_t next = 0, active = 0;
    memset(&s, 0, sizeof s);
    for (int i = 0; i < ABREAST; i++)
        places[i].stage = IDLE, places[i].left = 0, places[i].job = NULL, at[i] = nothing, step[i] = 0;
    for (;;) {
        for (int i = 0; i < ABREAST; i++) {
            kpl_place *place = &places[i];
            while (place->left == 0) {
                kpl_job *job = place->job;
                if (place->stage == BODY) {
                    place->left = kpl_md5_end(place->end, at[i], job->size & 63, job->size);
                    at[i] = place->end, place->stage = END;
                    continue;
                }
                if (place->stage == END) {
                    for (int word = 0; word < 4; word++)
                        kpl_store_le32(job->digest + 4 * word, s.words[word][i]);
                    place->stage = IDLE, active--;
                    at[i] = nothing, step[i] = 0;
                }
                if (next == count)
                    break;
                place->job = job = &jobs[next++];
                active++;
                for (int word = 0; word < 4; word++)
                    s.words[word][i] = KPL_MD5_START[word];
                at[i] = job->message, step[i] = 64, place->left = job->size / 64, place->stage = BODY;
            }
        }
        if (!active)
            return;
        size_t blocks = SIZE_MAX; /* until the first place has something else to do */
        for (int i = 0; i < ABREAST; i++)
            if (places[i].stage != IDLE && places[i].left < blocks)
                blocks = places[i].left;
        if (kpl_vectors == KPL_AVX512)
            kpl_md5_avx512(s.vectors, at, step, blocks);
        else
            kpl_md5_avx2(s.vectors, at, step, blocks);
        for (int i = 0; i < ABREAST; i++)
            if (places[i].stage != IDLE)
                places[i].left -= blocks;
    }
}
#endif

/* The digests of all jobs. */
static void kpl_md5_all(kpl_job *jobs, size_t count) {
#if KPL_X86
    if (kpl_vectors && count >= 3) { /* eight side by side take about as long as two one after the other */
        kpl_md5_side_by_side(jobs, count);
        return;
    }
#endif
    for (size_t i = 0; i < count; i++)
        kpl_md5(jobs[i].message, jobs[i].size, jobs[i].digest);
}

/* ---- base64 (RFC 4648, section 4) ---- */

static char kpl_pairs[4096][2]; /* two letters for each 12 bits */

static inline size_t kpl_base64_size(size_t n) { return (n + 2) / 3 * 4; }

static char *kpl_base64_plain(char *out, const uint8_t *p, size_t n) {
    while (n >= 3) {
        uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        memcpy(out, kpl_pairs[v >> 12], 2);
        memcpy(out + 2, kpl_pairs[v & 4095], 2);
        out += 4, p += 3, n -= 3;
    }
    if (n) {
        uint32_t v = (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0);
        memcpy(out, kpl_pairs[v >> 12], 2);
        memcpy(out + 2, kpl_pairs[v & 4095], 2);
        out[3] = '=';
        if (n == 1)
            out[2] = '=';
        out += 4;
    }
    return out;
}

#if KPL_X86
/* 24 bytes make 32 letters. The bytes are spread so that each 32 bits hold three of them, two multiplications shift each
 * six bits to a byte of their own, and a table of 16 offsets makes letters (W. Muła and D. Lemire, 2018). */
__attribute__((target("avx2"))) static char *kpl_base64_avx2(char *out, const uint8_t *p, size_t n) {
    const __m256i spread = _mm256_setr_epi8(5, 4, 6, 5, 8, 7, 9, 8, 11, 10, 12, 11, 14, 13, 15, 14, 1, 0, 2, 1, 4, 3, 5,
                                            4, 7, 6, 8, 7, 10, 9, 11, 10);
    const char digit = '0' - 52;
    const __m256i offsets = _mm256_setr_epi8('a' - 26, digit, digit, digit, digit, digit, digit, digit, digit, digit,
                                             digit, '+' - 62, '/' - 63, 'A', 0, 0, 'a' - 26, digit, digit, digit, digit,
                                             digit, digit, digit, digit, digit, digit, '+' - 62, '/' - 63, 'A', 0, 0);
    if (n < 40)
        return kpl_base64_plain(out, p, n);
    out = kpl_base64_plain(out, p, 6); /* so that a load may begin four bytes early */
    p += 6, n -= 6;
    while (n >= 32) { /* a load ends four bytes after the 24 that it encodes */
        __m256i v = _mm256_loadu_si256((const __m256i *)(p - 4));
        v = _mm256_shuffle_epi8(v, spread);
        __m256i high = _mm256_mulhi_epu16(_mm256_and_si256(v, _mm256_set1_epi32(0x0fc0fc00)),
                                          _mm256_set1_epi32(0x04000040));
        __m256i low = _mm256_mullo_epi16(_mm256_and_si256(v, _mm256_set1_epi32(0x003f03f0)),
                                         _mm256_set1_epi32(0x01000010));
        __m256i six = _mm256_or_si256(high, low);
        __m256i kind = _mm256_subs_epu8(six, _mm256_set1_epi8(51));
        __m256i capital = _mm256_cmpgt_epi8(_mm256_set1_epi8(26), six);
        kind = _mm256_or_si256(kind, _mm256_and_si256(capital, _mm256_set1_epi8(13)));
        _mm256_storeu_si256((__m256i *)out, _mm256_add_epi8(six, _mm256_shuffle_epi8(offsets, kind)));
        out += 32, p += 24, n -= 24;
    }
    return kpl_base64_plain(out, p, n);
}
#endif

/* Write the letters of n bytes, and return the place after them. */
static char *kpl_base64(char *out, const uint8_t *p, size_t n) {
#if KPL_X86
    if (kpl_vectors)
        return kpl_base64_avx2(out, p, n);
#endif
    return kpl_base64_plain(out, p, n);
}

/* ---- a buffer that grows ---- */

typedef struct {
    uint8_t *at;
    size_t size, capacity;
} kpl_buffer;

/* Make the buffer n bytes longer. Return where they begin; NULL: there is no memory, and nothing changes. */
static inline uint8_t *kpl_extend(kpl_buffer *buffer, size_t n) {
    if (buffer->size + n > buffer->capacity) {
        size_t capacity = buffer->capacity ? buffer->capacity : 256;
        while (capacity < buffer->size + n)
            capacity += capacity < 65536 ? capacity : capacity / 2;
        uint8_t *grown = (uint8_t *)realloc(buffer->at, capacity);
        if (!grown)
            return NULL;
        buffer->at = grown, buffer->capacity = capacity;
    }
    uint8_t *at = buffer->at + buffer->size;
    buffer->size += n;
    return at;
}

/* Give back memory that the buffer does not need, if that is much. */
static inline void kpl_trim(kpl_buffer *buffer) {
    if (buffer->size && buffer->capacity - buffer->size > buffer->size / 4) {
        uint8_t *at = (uint8_t *)realloc(buffer->at, buffer->size);
        if (at)
            buffer->at = at, buffer->capacity = buffer->size;
    }
}

/* ---- an aggregated record, before its parts are joined ---- */

#define KPL_MAGIC 4
#define KPL_DIGEST 16
#define KPL_ENVELOPE (KPL_MAGIC + KPL_DIGEST)

/* Data that is written at `place` of the records. */
typedef struct {
    size_t place;
    const uint8_t *data;
    size_t size;
} kpl_outside;

typedef struct {
    kpl_buffer keys, hash_keys; /* the tables' entries */
    kpl_buffer records;         /* without the data that is outside */
    kpl_buffer outside;         /* of kpl_outside, by place */
} kpl_aggregate;

static inline uint8_t *kpl_copy(uint8_t *out, const void *from, size_t n) {
    if (n)
        memcpy(out, from, n);
    return out + n;
}

/* Write the Kinesis record's data, except the digest at its end. */
static void kpl_join(const kpl_aggregate *aggregate, uint8_t *out) {
    static const uint8_t magic[KPL_MAGIC] = {0xF3, 0x89, 0x9A, 0xC2};
    const kpl_outside *outside = (const kpl_outside *)(const void *)aggregate->outside.at;
    size_t count = aggregate->outside.size / sizeof *outside, from = 0;
    out = kpl_copy(out, magic, KPL_MAGIC);
    out = kpl_copy(out, aggregate->keys.at, aggregate->keys.size);
    out = kpl_copy(out, aggregate->hash_keys.at, aggregate->hash_keys.size);
    for (size_t i = 0; i < count; i++) {
        out = kpl_copy(out, aggregate->records.at + from, outside[i].place - from);
        from = outside[i].place;
        out = kpl_copy(out, outside[i].data, outside[i].size);
    }
    if (from < aggregate->records.size)
        kpl_copy(out, aggregate->records.at + from, aggregate->records.size - from);
}

static void kpl_free_aggregate(kpl_aggregate *aggregate) {
    free(aggregate->keys.at);
    free(aggregate->hash_keys.at);
    free(aggregate->records.at);
    free(aggregate->outside.at);
}

/* ---- request bodies ---- */

/* A Kinesis record of a request: its data, and the bytes of the body before and after the data. */
typedef struct {
    const kpl_aggregate *aggregate; /* or NULL: the data are `size` bytes at `data` */
    const uint8_t *data;
    size_t size;
    const uint8_t *before, *after;
    size_t before_size, after_size;
} kpl_entry;

/* Joined aggregates of so many bytes stay in the second-level cache until they are encoded. */
#define KPL_GROUP (512 * 1024)

static inline size_t kpl_aligned(size_t n) { return (n + 63) & ~(size_t)63; }

/* Join the aggregates among the entries, one after the other from `at` on, and let the entries point to them. */
static void kpl_join_all(kpl_entry *entries, size_t count, uint8_t *at, kpl_job *jobs) {
    size_t joined = 0;
    for (size_t i = 0; i < count; i++) {
        kpl_entry *entry = &entries[i];
        if (!entry->aggregate)
            continue;
        kpl_join(entry->aggregate, at);
        entry->data = at;
        jobs[joined].message = at + KPL_MAGIC;
        jobs[joined].size = entry->size - KPL_ENVELOPE;
        jobs[joined++].digest = at + entry->size - KPL_DIGEST;
        at += kpl_aligned(entry->size);
    }
    kpl_md5_all(jobs, joined);
}

/* Write the entries with their data in base64. Return the place after them; NULL: there is no memory. */
static uint8_t *kpl_entries_in_base64(uint8_t *out, kpl_entry *entries, size_t count, kpl_job *jobs) {
    uint8_t *scratch = NULL;
    size_t capacity = 0;
    for (size_t first = 0, last; first < count; first = last) {
        size_t needed = 0;
        for (last = first; last < count && (last == first || needed < KPL_GROUP); last++)
            if (entries[last].aggregate)
                needed += kpl_aligned(entries[last].size);
        if (needed > capacity) {
            free(scratch);
            scratch = (uint8_t *)malloc(needed);
            if (!scratch)
                return NULL;
            capacity = needed;
        }
        kpl_join_all(entries + first, last - first, scratch, jobs);
        for (size_t i = first; i < last; i++) {
            const kpl_entry *entry = &entries[i];
            out = kpl_copy(out, entry->before, entry->before_size);
            out = (uint8_t *)kpl_base64((char *)out, entry->data, entry->size);
            out = kpl_copy(out, entry->after, entry->after_size);
        }
    }
    free(scratch);
    return out;
}

/* Write the entries with their data as it is. Return the place after them. */
static uint8_t *kpl_entries_as_bytes(uint8_t *out, const kpl_entry *entries, size_t count, kpl_job *jobs) {
    size_t joined = 0;
    for (size_t i = 0; i < count; i++) {
        const kpl_entry *entry = &entries[i];
        out = kpl_copy(out, entry->before, entry->before_size);
        if (entry->aggregate) {
            kpl_join(entry->aggregate, out);
            jobs[joined].message = out + KPL_MAGIC;
            jobs[joined].size = entry->size - KPL_ENVELOPE;
            jobs[joined++].digest = out + entry->size - KPL_DIGEST;
        } else
            kpl_copy(out, entry->data, entry->size);
        out += entry->size;
        out = kpl_copy(out, entry->after, entry->after_size);
    }
    kpl_md5_all(jobs, joined);
    return out;
}

/* ---- text of requests and responses ---- */

typedef struct {
    const uint8_t *at;
    size_t size;
} kpl_text;

/* Return 1 if JSON writes these bytes of a string as they are: printable ASCII without quotation marks or backslashes. */
static inline int kpl_is_plain_text(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] < 0x20 || p[i] > 0x7e || p[i] == '"' || p[i] == '\\')
            return 0;
    return 1;
}

#define KPL_DECIMALS 39 /* of 128 bits */

/* Write a number of 128 bits in decimal, and return the place after it. */
static inline uint8_t *kpl_decimal(uint8_t *out, uint64_t high, uint64_t low) {
    uint32_t parts[4] = {(uint32_t)(high >> 32), (uint32_t)high, (uint32_t)(low >> 32), (uint32_t)low};
    uint8_t digits[45];
    int at = 45, first = 0;
    for (int round = 0; round < 5; round++) { /* nine digits each */
        uint64_t rest = 0;
        for (int i = 0; i < 4; i++) {
            uint64_t value = rest << 32 | parts[i];
            parts[i] = (uint32_t)(value / 1000000000u);
            rest = value % 1000000000u;
        }
        uint32_t nine = (uint32_t)rest;
        for (int i = 0; i < 9; i++)
            digits[--at] = (uint8_t)('0' + nine % 10), nine /= 10;
    }
    while (first < 44 && digits[first] == '0')
        first++;
    memcpy(out, digits + first, 45 - (size_t)first);
    return out + (45 - first);
}

typedef struct {
    const uint8_t *at, *end;
} kpl_reader;

/* Go beyond white space of JSON. Return 1 at the end. */
static inline int kpl_ends(kpl_reader *reader) {
    while (reader->at < reader->end &&
           (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\r' || *reader->at == '\t'))
        reader->at++;
    return reader->at == reader->end;
}

/* Return 1 if the next character of JSON is this one, and go beyond it. */
static inline int kpl_takes(kpl_reader *reader, uint8_t wanted) {
    if (kpl_ends(reader) || *reader->at != wanted)
        return 0;
    reader->at++;
    return 1;
}

/* Read a string of JSON without escapes that is ASCII. Return 0 for anything else. */
static inline int kpl_reads_text(kpl_reader *reader, kpl_text *text) {
    if (!kpl_takes(reader, '"'))
        return 0;
    const uint8_t *p = reader->at;
    while (p < reader->end && *p >= 0x20 && *p <= 0x7e && *p != '"' && *p != '\\')
        p++;
    if (p == reader->end || *p != '"')
        return 0;
    text->at = reader->at, text->size = (size_t)(p - reader->at);
    reader->at = p + 1;
    return 1;
}

/* Read a whole number of JSON. Return 0 for anything else. */
static inline int kpl_reads_number(kpl_reader *reader) {
    uint8_t first = '0';
    while (first <= '9' && !kpl_takes(reader, first))
        first++;
    if (first > '9')
        return 0;
    const uint8_t *begin = reader->at;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
        reader->at++;
    return first != '0' || reader->at == begin;
}

static inline int kpl_is_text(const kpl_text *text, const char *wanted, size_t size) {
    return text->size == size && !memcmp(text->at, wanted, size);
}

/* ---- loading ---- */

/* Return the best code that this processor runs. */
static int kpl_best_vectors(void) {
#if KPL_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2"))
        return KPL_AVX512;
    if (__builtin_cpu_supports("avx2"))
        return KPL_AVX2;
#endif
    return KPL_PLAIN;
}

static void kpl_load(void) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 4096; i++)
        kpl_pairs[i][0] = letters[i >> 6], kpl_pairs[i][1] = letters[i & 63];
    kpl_vectors = kpl_best_vectors();
}

#endif
