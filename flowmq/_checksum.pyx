# See _checksum.pxd for what this module is and is not.
#
# Terms of the C part. A state is the 32-bit remainder while octets go in; a checksum is a state with all bits inverted.
# The octets are a polynomial over GF(2), the lowest bit of the first octet its highest power; a state, likewise, holds
# the power 31 in bit 0. One octet more multiplies by x^8, modulo the Castagnoli polynomial, and adds the octet.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t

from flowmq._frame cimport FLOWMQ_CONTRACT

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef extern from * nogil:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    #define CHECKSUM_POLYNOMIAL 0x82F63B78u

    /* The eight octets from `at` on, the first one lowest. */
    static inline uint64_t checksum_word(const uint8_t *at) {
        uint64_t word;
        memcpy(&word, at, 8);
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
        word = __builtin_bswap64(word);
    #endif
        return word;
    }

    /* ---- by table: any processor, eight octets at a step */

    /* [n][octet]: what that octet does to the state when n more octets follow it in the same step. */
    static uint32_t checksum_table[8][256];

    static void checksum_fill_table(void) {
        for (uint32_t octet = 0; octet < 256; octet++) {
            uint32_t state = octet;
            for (int bit = 0; bit < 8; bit++)
                state = (state >> 1) ^ (state & 1 ? CHECKSUM_POLYNOMIAL : 0);
            checksum_table[0][octet] = state;
        }
        for (int behind = 1; behind < 8; behind++)
            for (int octet = 0; octet < 256; octet++) {
                uint32_t state = checksum_table[behind - 1][octet];
                checksum_table[behind][octet] = (state >> 8) ^ checksum_table[0][state & 255];
            }
    }

    static uint32_t checksum_by_table(uint32_t state, const uint8_t *at, size_t count) {
        for (; count >= 8; at += 8, count -= 8) {
            uint64_t word = checksum_word(at) ^ state;
            state = 0;
            for (int octet = 0; octet < 8; octet++)
                state ^= checksum_table[7 - octet][(word >> (8 * octet)) & 255];
        }
        for (; count; at++, count--)
            state = (state >> 8) ^ checksum_table[0][(state ^ *at) & 255];
        return state;
    }

    #if defined(__x86_64__)
    /* ---- by SSE4.2: three streams at once

       The crc32 instruction takes one word per cycle but answers three cycles later, so one stream waits two cycles of
       three. Long inputs are cut into three parts of n words each; the states of the first two are then moved over
       what follows them, that is, multiplied by x^(128n) and x^(64n), and all three added.

       A carry-less product of two 32-bit states is their polynomial product times x, with the power 63 in bit 0; the
       crc32 instruction reduces it and multiplies by x^32 on the way. Hence the 33 that the factors lack. */
    #include <immintrin.h>

    #define CHECKSUM_WORDS_MAX 256      /* in one stream */
    #define CHECKSUM_WORDS_MIN 4        /* with fewer, joining the streams costs more than they save */

    static uint32_t checksum_factor[2 * CHECKSUM_WORDS_MAX + 1];        /* [n]: x^(64n - 33); [0] is not used */

    static void checksum_fill_factors(void) {
        const uint8_t zeros[8] = {0};
        checksum_factor[1] = 1;         /* x^31 */
        for (int n = 2; n <= 2 * CHECKSUM_WORDS_MAX; n++)
            checksum_factor[n] = checksum_by_table(checksum_factor[n - 1], zeros, 8);
    }

    __attribute__((target("sse4.2,pclmul")))
    static inline __m128i checksum_moved(uint64_t state, size_t words) {
        return _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)state),
                                    _mm_cvtsi32_si128((int)checksum_factor[words]), 0);
    }

    __attribute__((target("sse4.2,pclmul")))
    static uint32_t checksum_three_streams(uint32_t state, const uint8_t *at, size_t words) {
        uint64_t first = state, second = 0, third = 0;
        const uint8_t *middle = at + 8 * words, *last = middle + 8 * words;
        for (size_t offset = 0; offset < 8 * words; offset += 8) {
            first = _mm_crc32_u64(first, checksum_word(at + offset));
            second = _mm_crc32_u64(second, checksum_word(middle + offset));
            third = _mm_crc32_u64(third, checksum_word(last + offset));
        }
        __m128i product = _mm_xor_si128(checksum_moved(first, 2 * words), checksum_moved(second, words));
        return (uint32_t)(third ^ _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product)));
    }

    __attribute__((target("sse4.2,pclmul")))
    static uint32_t checksum_by_instruction(uint32_t state, const uint8_t *at, size_t count) {
        while (count >= 24 * CHECKSUM_WORDS_MIN) {
            size_t words = count / 24 < CHECKSUM_WORDS_MAX ? count / 24 : CHECKSUM_WORDS_MAX;
            state = checksum_three_streams(state, at, words);
            at += 24 * words;
            count -= 24 * words;
        }
        for (; count >= 8; at += 8, count -= 8)
            state = (uint32_t)_mm_crc32_u64(state, checksum_word(at));
        if (count >= 4) {
            uint32_t half;
            memcpy(&half, at, 4);
            state = _mm_crc32_u32(state, half);
            at += 4, count -= 4;
        }
        for (; count; at++, count--)
            state = _mm_crc32_u8(state, *at);
        return state;
    }

    static int checksum_has_instruction(void) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
    }
    #define CHECKSUM_INSTRUCTION "sse4.2"

    #elif defined(__ARM_FEATURE_CRC32)
    /* ---- by ARMv8's instruction: compiled for, hence there */
    #include <arm_acle.h>

    static uint32_t checksum_by_instruction(uint32_t state, const uint8_t *at, size_t count) {
        for (; count >= 8; at += 8, count -= 8)
            state = __crc32cd(state, checksum_word(at));
        for (; count; at++, count--)
            state = __crc32cb(state, *at);
        return state;
    }

    static void checksum_fill_factors(void) {}
    static int checksum_has_instruction(void) { return 1; }
    #define CHECKSUM_INSTRUCTION "armv8"
    #endif

    /* ---- the one in use */

    static uint32_t (*checksum_in_use)(uint32_t, const uint8_t *, size_t) = checksum_by_table;
    static const char *checksum_in_use_name = "table";

    static void checksum_prepare(void) {
        checksum_fill_table();
    #ifdef CHECKSUM_INSTRUCTION
        if (checksum_has_instruction()) {
            checksum_fill_factors();
            checksum_in_use = checksum_by_instruction;
            checksum_in_use_name = CHECKSUM_INSTRUCTION;
        }
    #endif
    }
    """
    uint32_t checksum_by_table(uint32_t state, const uint8_t *at, size_t count)
    uint32_t checksum_in_use(uint32_t state, const uint8_t *at, size_t count)
    const char *checksum_in_use_name
    void checksum_prepare()

checksum_prepare()


cdef uint32_t crc32c(uint32_t seed, const void *octets, size_t count) noexcept nogil:
    return ~checksum_in_use(~seed, <const uint8_t *>octets, count)


def crc32c_of(octets, uint32_t seed=0):
    """The checksum of a bytes-like object, going on from `seed`."""
    cdef Py_buffer view
    PyObject_GetBuffer(octets, &view, PyBUF_SIMPLE)
    try:
        return crc32c(seed, view.buf, <size_t>view.len)
    finally:
        PyBuffer_Release(&view)


# Python gets the name that C has; Cython cannot declare one name for both when the signatures differ.
globals()["crc32c"] = crc32c_of


def crc32c_by_table(octets, uint32_t seed=0):
    """The same by the tables whatever the processor has, so that they can be tested anywhere."""
    cdef Py_buffer view
    PyObject_GetBuffer(octets, &view, PyBUF_SIMPLE)
    try:
        return <uint32_t>~checksum_by_table(~seed, <const uint8_t *>view.buf, <size_t>view.len)
    finally:
        PyBuffer_Release(&view)


def implementation() -> str:
    """What computes the checksums here: "sse4.2", "armv8" or "table"."""
    return checksum_in_use_name.decode()
