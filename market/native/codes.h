/* Bytes that stand for figures and sets, and looking at many rows at once by them. */
#pragma once
#include "rules.h"

/* Grows with the figure, by an eighth of a power of two; below 16 exact. */
static u8 code_of(u32 figure)
{
    if (figure < 8)
        return (u8)figure;
    int top = 31 - __builtin_clz(figure);
    return (u8)((top - 2) << 3 | (figure >> (top - 3) & 7));
}

static u8 reputation_code(u32 permille) { return permille > 1000 ? 255 : (u8)(permille >> 2); }

/* Grows as the round trip gets shorter; 0 where it was not measured. */
static u8 rtt_code(u32 microseconds) { return microseconds ? (u8)(255 - code_of(microseconds)) : 0; }

/* The place of each bit within its byte, and the byte it is in: sets with a bit in common have both in common. */
static u8 low_fold(u64 set)
{
    set |= set >> 32;
    set |= set >> 16;
    return (u8)(set | set >> 8);
}

static u8 top_fold(u64 set)
{
    set |= set >> 4;
    set |= set >> 2;
    set |= set >> 1;
    return (u8)((set & 0x0101010101010101ULL) * 0x0102040810204080ULL >> 56);
}

/* Six bits for the runtimes, two for being without the first two flags. */
static u8 bits_fold(u64 runtimes, u64 without)
{
    u8 eight = low_fold(runtimes);
    return (u8)((eight & 63) | eight >> 6 | (without & 3) << 6);
}

static u32 in_32_bits(u64 value) { return value > UINT32_MAX ? UINT32_MAX : (u32)value; }

/* Seconds, roughly. */
static u32 coarse_time(u64 millis) { return in_32_bits(millis >> 10); }

/* In the order of the columns. */
static Bytes bytes_of(const Offer *o)
{
    return (Bytes){code_of(o->free), code_of(o->vram), code_of(o->cpu), code_of(o->memory), code_of(o->disk),
                   code_of(o->cuda), code_of(o->driver), code_of(o->notice), reputation_code(o->terms.reputation),
                   rtt_code(o->rtt_us), low_fold(o->venue), low_fold(o->region), top_fold(o->region),
                   low_fold(o->jurisdiction), top_fold(o->jurisdiction), bits_fold(o->runtimes, ~o->flags)};
}

static Bytes need_of(const Query *q)
{
    return (Bytes){code_of((u32)q->slots), code_of(q->vram), code_of(q->cpu), code_of(q->memory), code_of(q->disk),
                   code_of(q->cuda), code_of(q->driver), code_of(q->notice), reputation_code(q->reputation),
                   rtt_code(q->max_rtt_us), low_fold(q->venue), low_fold(q->regions), top_fold(q->regions),
                   low_fold(q->jurisdictions), top_fold(q->jurisdictions), bits_fold(q->runtimes, q->barred)};
}

static inline Bytes joined(Bytes a, Bytes b)
{
    Bytes a_larger = (Bytes)(a > b);
    return (AT_LEAST & ((a & a_larger) | (b & ~a_larger))) | (~AT_LEAST & (a | b));
}

/* Whether any of the rows with this sum of bytes may fit. */
static inline bool may_fit(Bytes need, Bytes sum)
{
    Bytes in_common = (Bytes)((sum & need) != 0) & IN_COMMON, all = (Bytes)((sum & need) == need);
    Bytes ok = ((Bytes)(sum >= need) & AT_LEAST) | in_common | (all & ~AT_LEAST & ~IN_COMMON);
    u64 halves[2];
    memcpy(halves, &ok, sizeof halves);
    return (halves[0] & halves[1]) == UINT64_MAX;
}

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__) \
    && !defined(__SANITIZE_ADDRESS__)
#define QUICK_EVERYWHERE __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define QUICK_EVERYWHERE
#endif

/* One bit for each byte, which are 0 or 1. */
static inline u64 bits_of(const u8 *ok)
{
    u64 mask = 0;
    for (int word = 0; word < LANES / 8; word++) {
        u64 eight;
        memcpy(&eight, ok + 8 * word, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        eight = __builtin_bswap64(eight);
#endif
        mask |= (eight * 0x0102040810204080ULL >> 56) << 8 * word;
    }
    return mask;
}

/* Which of the rows of a block may fit, one bit each: without a branch, so that a compiler does many rows at once. */
QUICK_EVERYWHERE
static u64 may_fit_lanes(const Block *restrict block, const Query *restrict q, u32 count)
{
    const u8(*restrict column)[LANES] = block->column, *restrict need = (const u8 *)&q->need;
    const u32 *restrict price = block->price, *restrict expires = block->expires;
    u32 max_price = q->max_price_32, now = q->now_32;
    u8 ok[LANES];
    for (int i = 0; i < LANES; i++)
        ok[i] = (column[C_FREE][i] >= need[C_FREE]) & (column[C_VRAM][i] >= need[C_VRAM])
            & (column[C_CPU][i] >= need[C_CPU]) & (column[C_MEMORY][i] >= need[C_MEMORY])
            & (column[C_DISK][i] >= need[C_DISK]) & (column[C_CUDA][i] >= need[C_CUDA])
            & (column[C_DRIVER][i] >= need[C_DRIVER]) & (column[C_NOTICE][i] >= need[C_NOTICE])
            & (column[C_REPUTATION][i] >= need[C_REPUTATION]) & (column[C_RTT][i] >= need[C_RTT])
            & ((column[C_VENUE][i] & need[C_VENUE]) != 0) & ((column[C_REGION][i] & need[C_REGION]) != 0)
            & ((column[C_REGION_TOP][i] & need[C_REGION_TOP]) != 0)
            & ((column[C_COUNTRY][i] & need[C_COUNTRY]) != 0)
            & ((column[C_COUNTRY_TOP][i] & need[C_COUNTRY_TOP]) != 0)
            & ((column[C_BITS][i] & need[C_BITS]) == need[C_BITS]);
    for (int i = 0; i < LANES; i++)
        ok[i] &= (price[i] <= max_price) & (expires[i] >= now);
    return count == LANES ? bits_of(ok) : bits_of(ok) & ((1ULL << count) - 1);
}

/* Which of the rows of a block cost no more than this. */
QUICK_EVERYWHERE
static u64 lanes_up_to(const u32 *price, u32 most)
{
    u8 ok[LANES];
    for (int i = 0; i < LANES; i++)
        ok[i] = price[i] <= most;
    return bits_of(ok);
}
