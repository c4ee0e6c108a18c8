/* The offers of a book by price, in C. Finds exactly what `scan` in market/offer_row.py finds; that page says what each
 * field means. Built where there is a compiler (setup.py); market/native_index.py is the way in.
 *
 * Rows of one class lie in blocks of 64, the blocks in ascending price. Beside each block stands its *zone*: the best
 * that any of its rows has to offer. A zone whose best does not fit, or would score worse than what was found already,
 * is skipped; so are all dearer ones once the best of the whole class would score worse at their price. Both are exact:
 * the score is monotone in each of its terms, rounding included, so the score of the best of each is a lower bound.
 *
 * In a block one byte per rule and row says "may fit": a figure is kept as a small code that grows with it, a set of
 * bits folded into eight. It may let too much through, never too little; what it lets through is looked at in full.
 *
 * A class with very many rows is kept in parts, by reputation and latency, each with a best of its own. Rows without a
 * free slot are in no block. What is kept as best may be better than what is there, for a while, but never worse. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef unsigned __int128 u128;

/* ---- Fields: as the named tuples have them, each with the largest value that is taken ---- */

/* The bounds of market/records.py or wider. They keep every product within 64 bits, or 128 (see `has_room`). */
#define MAX_PRICE 1000000000000000 /* below 2^50 */
#define MAX_SLOTS 8191             /* below 2^13 */
#define MAX_LINK ((1 << 25) - 1)
#define MAX_MIB ((1LL << 38) - 1)
#define MAX_MS ((1LL << 53) - 1)
#define MAX_OPENING (1LL << 53)
#define MAX_WEIGHT 1000000
#define MAX_HANDLE ((1 << 24) - 1)
#define MAX_CLASS 65534
#define NANO_MS_PER_UNIT 1000000
#define ANY UINT64_MAX
#define OBJECT 0 /* not a number */

#define ROW(X) \
    X(handle, MAX_HANDLE) X(id, OBJECT) X(tie, ANY) X(provider, INT64_MAX) X(klass, MAX_CLASS) X(expires, INT64_MAX) \
    X(price, MAX_PRICE) X(free, MAX_SLOTS) X(vram, UINT32_MAX) X(cpu, UINT32_MAX) X(memory, UINT32_MAX) \
    X(disk, UINT32_MAX) X(cuda, UINT32_MAX) X(driver, UINT32_MAX) X(notice, UINT32_MAX) X(reputation, 1000) \
    X(rtt_us, UINT32_MAX) X(latency, 1000) X(venue, ANY) X(region, ANY) X(jurisdiction, ANY) X(runtimes, ANY) \
    X(flags, ANY) X(speed, UINT32_MAX) X(perf, 1000) X(link, MAX_LINK) X(failure, 1000) X(opening, MAX_OPENING) \
    X(images, OBJECT)
#define QUERY(X) \
    X(tie, ANY) X(now, INT64_MAX) X(classes, OBJECT) X(venue, ANY) X(max_price, INT64_MAX) X(slots, MAX_SLOTS) \
    X(vram, INT64_MAX) X(vram_max, INT64_MAX) X(cpu, INT64_MAX) X(memory, INT64_MAX) X(disk, INT64_MAX) \
    X(cuda, INT64_MAX) X(driver, INT64_MAX) X(notice, INT64_MAX) X(reputation, INT64_MAX) X(max_rtt_us, INT64_MAX) \
    X(regions, ANY) X(jurisdictions, ANY) X(runtimes, ANY) X(barred, ANY) X(allow, OBJECT) X(deny, OBJECT) \
    X(work_ms, MAX_MS) X(paced, 1) X(max_ms, MAX_MS) X(image, ANY) X(image_mib, MAX_MIB) X(moved_mib, MAX_MIB) \
    X(waiting, INT64_MAX) X(reference, INT64_MAX) X(w_cost, MAX_WEIGHT) X(w_speed, MAX_WEIGHT) \
    X(w_reliability, MAX_WEIGHT) X(w_latency, MAX_WEIGHT)

typedef struct {
    const char *name;
    u64 most;
} Field;

#define R_NUMBER(name, most) R_##name,
#define Q_NUMBER(name, most) Q_##name,
#define DESCRIBED(name, most) {#name, most},
enum { ROW(R_NUMBER) ROW_SIZE };
enum { QUERY(Q_NUMBER) QUERY_SIZE };
static const Field row_fields[] = {ROW(DESCRIBED)}, query_fields[] = {QUERY(DESCRIBED)};

/* ---- What is kept ---- */

enum { LANES = 64, MANY = 4, THIN = LANES / 4, ROOMY = LANES * 3 / 4, LINE = 64 };
#ifndef DIVIDE_AT /* measured; the tests use a smaller one */
#define DIVIDE_AT 15000
#endif
enum { SIDE = 3, PARTS = SIDE * SIDE, UNITE_AT = DIVIDE_AT / 4 };

/* One byte per rule. The first ten: the row's code must be at least the query's. The next five: a bit in common. The
 * last: every bit of the query's. */
enum {
    C_FREE, C_VRAM, C_CPU, C_MEMORY, C_DISK, C_CUDA, C_DRIVER, C_NOTICE, C_REPUTATION, C_RTT,
    C_VENUE, C_REGION, C_REGION_TOP, C_COUNTRY, C_COUNTRY_TOP, C_BITS, COLUMNS
};
typedef u8 Bytes __attribute__((vector_size(COLUMNS)));
static const Bytes AT_LEAST = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
static const Bytes IN_COMMON = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255};

/* What a score is made of on the row's side. Of a zone or cell: the best of each. */
typedef struct {
    u64 price, opening;
    u32 speed, link;
    u16 perf, reputation, latency, failure;
} Terms;

typedef struct Block Block;
typedef struct Cell Cell;
typedef struct Class Class;

typedef struct {
    Terms best;
    Bytes sum; /* of its rows' bytes: the largest, or the union */
    Block *block;
    u32 count, loose;
} Zone;

struct Block {
    u8 column[COLUMNS][LANES];         /* zero behind the last row */
    u32 price[LANES], expires[LANES];  /* coarse, in 32 bits */
    Terms terms[LANES];
    u32 offer[LANES];
    Cell *cell;
    u32 place; /* of its zone in the cell, as last seen */
    Block *next; /* while it is spare */
};

/* The rows of a class, of a part of it, or, without zones of its own, of all its parts. */
struct Cell {
    Terms best;
    Bytes sum;
    Zone *zones; /* in ascending price: none has a row dearer than the next one's best price */
    u32 n_zones, room, loose;
    Class *class;
};

struct Class {
    Cell *start; /* where a search begins: the one part, or all */
    Cell *parts; /* one, or PARTS by thirds of reputation and of latency */
    Cell all;    /* not kept up while there is but one part */
    u32 n_parts, listed;
    u16 cut[2][SIDE - 1];
    bool median_known;
    u64 median;
};

typedef struct {
    u64 tie __attribute__((aligned(LINE))), venue, region, jurisdiction, runtimes, flags, provider, expires;
    u32 vram, cpu, memory, disk, cuda, driver, notice, rtt_us;
    u16 reputation, free, klass;
    u8 lane;
    Block *block; /* NULL: no free slot */
    u32 handle;   /* of a vacant one: the next vacant one, plus one */
    u32 n_images;
    u64 *images;
    Terms terms;
    PyObject *row;  /* NULL: vacant */
    const char *id; /* the row's own bytes */
    size_t id_size;
} Offer;

/* A compiled bid. */
typedef struct {
    Bytes need;
    u64 max_price, now, ms, slots, cost_1000, opening_cost, w_speed, w_reliability, w_latency;
    u128 going; /* 0 also where nothing but the cost counts */
    u32 max_price_32, now_32, n_classes;
    bool paced, fetches, allows, picky;
    u16 few_classes[24], *classes; /* `classes` where they are not few */
    u64 tie, venue, regions, jurisdictions, runtimes, barred;
    u32 vram, vram_max, cpu, memory, disk, cuda, driver, notice, reputation, max_rtt_us;
    u64 work_1000, max_ms, image, image_mib, moved_mib, waiting;
    u64 *allow, *deny;
    u32 n_allow, n_deny;
} Query;

/* Where a search has still to look, and the least that a score can be there. */
typedef struct {
    u128 floor;
    Cell *cell;
} Hope;

typedef struct {
    u128 score;
    u64 mixed;
    u32 offer;
} Found;

typedef struct {
    PyObject_HEAD
    Offer *offers;
    u32 n_offers, offer_room, vacant; /* vacant: the first vacant one, plus one */
    u32 *by_handle, handles;          /* offer plus one; 0: none */
    Class **classes;
    u32 n_classes;
    Block *spare;
    u32 n_spare;
    Hope *hopes; /* room for every cell and one, so that a search allocates nothing */
    u32 n_cells, hope_room;
    u32 length;
} Index;

/* ---- The rules of the auction, as in market/offer_row.py ---- */

static u64 mix(u64 value)
{
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
    return value ^ (value >> 31);
}

/* Whether an ascending array has this value. */
static bool holds(const u64 *array, u32 count, u64 value)
{
    u32 low = 0;
    while (low < count) {
        u32 middle = low + (count - low) / 2;
        if (array[middle] == value)
            return true;
        if (array[middle] < value)
            low = middle + 1;
        else
            count = middle;
    }
    return false;
}

/* All rules but the class. */
static bool fits(const Offer *o, const Query *q)
{
    return o->expires > q->now && o->free >= q->slots
        && o->vram >= q->vram && o->vram <= q->vram_max && o->cpu >= q->cpu && o->memory >= q->memory
        && o->disk >= q->disk && o->cuda >= q->cuda && o->driver >= q->driver && o->notice >= q->notice
        && o->reputation >= q->reputation
        && (!q->max_rtt_us || (o->rtt_us && o->rtt_us <= q->max_rtt_us))
        && (o->venue & q->venue) && (o->region & q->regions) && (o->jurisdiction & q->jurisdictions)
        && (o->runtimes & q->runtimes) == q->runtimes && !(o->flags & q->barred)
        && (!q->picky
            || ((!q->allows || holds(q->allow, q->n_allow, o->provider)) && !holds(q->deny, q->n_deny, o->provider)));
}

/* `has_room` made sure that nothing here is too large. */
static inline u128 score(const Query *q, const Terms *t, u64 price, bool has_image)
{
    u64 ms = q->ms;
    if (q->paced) {
        ms = q->work_1000 / t->speed;
        ms = ms < q->max_ms ? ms : q->max_ms;
    }
    u128 spent = (u128)(price * q->slots) * ms;
    if (q->fetches)
        spent += (u128)q->waiting * ((has_image ? 0 : q->image_mib) * t->link >> 10)
            + (u128)q->waiting * (q->moved_mib * t->link >> 10);
    u128 points = (u128)t->opening * q->opening_cost;
    if (spent >> 54) /* rarely: dividing 128 bits is slow */
        points += (spent + spent * t->failure / 1000) * q->cost_1000;
    else
        points += (u128)((u64)spent + (u64)spent * t->failure / 1000) * q->cost_1000;
    if (q->going)
        points += q->going * (q->w_speed * (1000 - t->perf) + q->w_reliability * (1000 - t->reputation)
                              + q->w_latency * t->latency);
    return points;
}

/* ---- Bytes that stand for figures and sets ---- */

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

/* ---- Blocks, zones and cells ---- */

static const Terms WORST = {.price = UINT64_MAX, .opening = UINT64_MAX, .link = UINT32_MAX, .latency = UINT16_MAX,
                            .failure = UINT16_MAX};

static void widen(Terms *best, const Terms *t)
{
#define KEEP(field, better) best->field = t->field better best->field ? t->field : best->field
    KEEP(price, <);
    KEEP(opening, <);
    KEEP(speed, >);
    KEEP(link, <);
    KEEP(perf, >);
    KEEP(reputation, >);
    KEEP(latency, <);
    KEEP(failure, <);
#undef KEEP
}

static u8 largest(const u8 *column)
{
    u8 most = 0;
    for (int i = 0; i < LANES; i++)
        most = column[i] > most ? column[i] : most;
    return most;
}

static u8 united(const u8 *column)
{
    u8 all = 0;
    for (int i = 0; i < LANES; i++)
        all |= column[i];
    return all;
}

static u32 smallest(const u32 *column, u32 count)
{
    u32 least = UINT32_MAX;
    for (u32 i = 0; i < count; i++)
        least = column[i] < least ? column[i] : least;
    return least;
}

/* The best of a zone exactly as its rows are now. */
static void measure(Zone *zone)
{
    zone->best = WORST;
    zone->loose = 0;
    for (u32 i = 0; i < zone->count; i++)
        widen(&zone->best, &zone->block->terms[i]);
    for (int column = 0; column < COLUMNS; column++)
        zone->sum[column] = (AT_LEAST[column] ? largest : united)(zone->block->column[column]);
}

static void add_best(Cell *cell, const Terms *terms, Bytes sum)
{
    widen(&cell->best, terms);
    cell->sum = joined(cell->sum, sum);
    if (cell != cell->class->start)
        add_best(cell->class->start, terms, sum);
}

/* Something in this cell got worse: once in as many times as looking costs, see what is best now. */
static void loosened(Cell *cell)
{
    Class *class = cell->class;
    bool all = cell == &class->all;
    u32 within = all ? class->n_parts : cell->n_zones;
    if (++cell->loose >= within) {
        cell->best = WORST;
        cell->sum = (Bytes){0};
        cell->loose = 0;
        for (u32 i = 0; i < within; i++) {
            widen(&cell->best, all ? &class->parts[i].best : &cell->zones[i].best);
            cell->sum = joined(cell->sum, all ? class->parts[i].sum : cell->zones[i].sum);
        }
    }
    if (cell != class->start)
        loosened(class->start);
}

/* Blocks know roughly where their zone is: others came and went before it. */
static Zone *zone_of(Block *block)
{
    Cell *cell = block->cell;
    u32 below = block->place < cell->n_zones ? block->place : cell->n_zones - 1, above = below + 1;
    for (;; below--, above++) {
        if (below < cell->n_zones && cell->zones[below].block == block)
            above = below;
        if (above < cell->n_zones && cell->zones[above].block == block) {
            block->place = above;
            return &cell->zones[above];
        }
    }
}

static void write_lane(Index *self, Block *block, u32 lane, u32 number)
{
    Offer *offer = &self->offers[number];
    Bytes bytes = bytes_of(offer);
    for (int column = 0; column < COLUMNS; column++)
        block->column[column][lane] = bytes[column];
    block->price[lane] = in_32_bits(offer->terms.price);
    block->expires[lane] = coarse_time(offer->expires);
    block->terms[lane] = offer->terms;
    block->offer[lane] = number;
    offer->block = block;
    offer->lane = (u8)lane;
}

static void clear_lane(Block *block, u32 lane)
{
    for (int column = 0; column < COLUMNS; column++)
        block->column[column][lane] = 0;
}

static void move_lane(Index *self, Block *to, u32 lane, Block *from, u32 old)
{
    for (int column = 0; column < COLUMNS; column++)
        to->column[column][lane] = from->column[column][old];
    to->price[lane] = from->price[old];
    to->expires[lane] = from->expires[old];
    to->terms[lane] = from->terms[old];
    to->offer[lane] = from->offer[old];
    self->offers[to->offer[lane]].block = to;
    self->offers[to->offer[lane]].lane = (u8)lane;
    clear_lane(from, old);
}

/* A new zone at this place. Room and block were reserved. */
static Zone *open_zone(Index *self, Cell *cell, u32 place)
{
    Block *block = self->spare;
    self->spare = block->next;
    self->n_spare--;
    memset(block->column, 0, sizeof block->column);
    block->cell = cell;
    block->place = place;
    memmove(&cell->zones[place + 1], &cell->zones[place], (cell->n_zones++ - place) * sizeof(Zone));
    cell->zones[place] = (Zone){.best = WORST, .block = block};
    return &cell->zones[place];
}

static void close_zone(Index *self, Zone *zone)
{
    Cell *cell = zone->block->cell;
    zone->block->next = self->spare;
    self->spare = zone->block;
    self->n_spare++;
    cell->n_zones--;
    memmove(zone, zone + 1, (size_t)(&cell->zones[cell->n_zones] - zone) * sizeof(Zone));
}

/* The dearer half of a full block gets a block of its own. */
static void split(Index *self, Cell *cell, u32 place)
{
    Zone *upper = open_zone(self, cell, place + 1), *lower = &cell->zones[place];
    Block *block = lower->block;
    u8 order[LANES];
    bool leaves[LANES] = {false};
    for (int i = 0; i < LANES; i++) {
        int j = i;
        for (; j && block->terms[order[j - 1]].price > block->terms[i].price; j--)
            order[j] = order[j - 1];
        order[j] = (u8)i;
    }
    for (int i = LANES / 2; i < LANES; i++) {
        leaves[order[i]] = true;
        move_lane(self, upper->block, upper->count++, block, order[i]);
    }
    lower->count = 0;
    for (u32 i = 0; i < LANES; i++)
        if (!leaves[i] && lower->count++ != i)
            move_lane(self, block, lower->count - 1, block, i);
    measure(lower);
    measure(upper);
}

/* Puts the rows of a thin zone and of a neighbour in one block, if they fit in well. */
static bool merge(Index *self, Cell *cell, u32 place)
{
    Zone *lower = &cell->zones[place + 1 < cell->n_zones ? place : place - 1], *upper = lower + 1;
    if (lower->count + upper->count > ROOMY)
        return false;
    while (upper->count)
        move_lane(self, lower->block, lower->count++, upper->block, --upper->count);
    close_zone(self, upper);
    measure(lower);
    return true;
}

static void add_row(Index *self, Zone *zone, u32 number)
{
    Cell *cell = zone->block->cell;
    Bytes bytes = bytes_of(&self->offers[number]);
    write_lane(self, zone->block, zone->count++, number);
    widen(&zone->best, &self->offers[number].terms);
    zone->sum = joined(zone->sum, bytes);
    add_best(cell, &self->offers[number].terms, bytes);
    cell->class->listed++;
    cell->class->median_known = false;
}

/* Puts a row with free slots in a block. Block and room were reserved. */
static void list_row(Index *self, Cell *cell, u32 number)
{
    u64 price = self->offers[number].terms.price;
    u32 low = 0, high = cell->n_zones;
    while (high - low > 1) {
        u32 middle = low + (high - low) / 2;
        if (cell->zones[middle].best.price <= price)
            low = middle;
        else
            high = middle;
    }
    if (!cell->n_zones)
        open_zone(self, cell, 0);
    if (cell->zones[low].count == LANES) {
        split(self, cell, low);
        low += cell->zones[low + 1].best.price <= price;
    }
    add_row(self, &cell->zones[low], number);
}

static void unlist(Index *self, Offer *offer)
{
    Block *block = offer->block;
    Zone *zone = zone_of(block);
    Cell *cell = block->cell;
    u32 lane = offer->lane, last = --zone->count;
    u8 free_code = block->column[C_FREE][lane];
    if (lane != last)
        move_lane(self, block, lane, block, last);
    else
        clear_lane(block, lane);
    offer->block = NULL;
    cell->class->listed--;
    cell->class->median_known = false;
    if (!last)
        close_zone(self, zone);
    else if (last > THIN || cell->n_zones == 1 || !merge(self, cell, block->place)) {
        if (++zone->loose >= THIN)
            measure(zone);
        if (offer->terms.price == zone->best.price && smallest(block->price, last) < UINT32_MAX)
            zone->best.price = smallest(block->price, last);
        if (free_code == zone->sum[C_FREE])
            zone->sum[C_FREE] = largest(block->column[C_FREE]);
    }
    loosened(cell);
}

/* Other free slots than before, but some before and after. */
static void rewrite_free(Offer *offer)
{
    Zone *zone = zone_of(offer->block);
    u8 *code = &offer->block->column[C_FREE][offer->lane], was = *code;
    *code = code_of(offer->free);
    if (was == zone->sum[C_FREE] || *code > zone->sum[C_FREE]) {
        zone->sum[C_FREE] = largest(offer->block->column[C_FREE]);
        add_best(offer->block->cell, &zone->best, zone->sum);
        loosened(offer->block->cell);
    }
}

/* ---- Memory: all that an operation may need is there before it changes anything ---- */

static void *allocate(u64 count, size_t size)
{
    if (count > UINT32_MAX)
        return NULL;
    size_t bytes = ((size_t)count * size + LINE) / LINE * LINE;
    void *array = aligned_alloc(LINE, bytes);
    return array ? memset(array, 0, bytes) : NULL;
}

/* Makes room for so many, all zero where they are new. `array` is the address of the pointer, of whatever type. */
static bool grow(void *array, u32 *room, u64 wanted, size_t size)
{
    if (wanted <= *room)
        return true;
    u64 more = wanted > 2ULL * *room ? wanted : 2ULL * *room;
    void *old, *larger = allocate(more, size);
    if (!larger)
        return false;
    memcpy(&old, array, sizeof old);
    if (*room)
        memcpy(larger, old, *room * size);
    free(old);
    memcpy(array, &larger, sizeof larger);
    *room = (u32)more;
    return true;
}

static bool reserve_blocks(Index *self, u32 wanted)
{
    while (self->n_spare < wanted) {
        Block *block = allocate(1, sizeof *block);
        if (!block)
            return false;
        block->next = self->spare;
        self->spare = block;
        self->n_spare++;
    }
    return true;
}

/* For listing one more row in this cell, which may split a block. */
static bool reserve(Index *self, Cell *cell)
{
    return reserve_blocks(self, 1) && grow(&cell->zones, &cell->room, cell->n_zones + 1ULL, sizeof(Zone));
}

static Cell *new_parts(Class *class, u32 count)
{
    Cell *parts = allocate(count, sizeof *parts);
    for (u32 i = 0; parts && i < count; i++)
        parts[i] = (Cell){.best = WORST, .class = class};
    return parts;
}

static void free_parts(Cell *parts, u32 count)
{
    for (u32 i = 0; parts && i < count; i++)
        free(parts[i].zones);
    free(parts);
}

static Class *class_at(const Index *self, u64 number)
{
    return number < self->n_classes ? self->classes[number] : NULL;
}

/* The class of this number, made if there is none. */
static Class *reserve_class(Index *self, u32 number)
{
    if (class_at(self, number))
        return self->classes[number];
    if (!grow(&self->hopes, &self->hope_room, self->n_cells + 2ULL, sizeof(Hope))
        || !grow(&self->classes, &self->n_classes, number + 1ULL, sizeof(Class *)))
        return NULL;
    Class *class = allocate(1, sizeof *class);
    Cell *parts = class ? new_parts(class, 1) : NULL;
    if (!parts) {
        free(class);
        return NULL;
    }
    class->start = class->parts = parts;
    class->n_parts = 1;
    self->n_cells++;
    return self->classes[number] = class;
}

/* ---- Classes in parts ---- */

typedef struct {
    u64 price;
    u32 offer;
} Priced;

static int by_price(const void *a, const void *b)
{
    const Priced *x = a, *y = b;
    return (x->price > y->price) - (x->price < y->price);
}

static u32 part_of(const Class *class, const Terms *terms)
{
    u32 part = 0;
    for (int i = 0; i < SIDE - 1; i++)
        part += SIDE * (terms->reputation >= class->cut[0][i]) + (terms->latency >= class->cut[1][i]);
    return part;
}

static Cell *cell_for(const Class *class, const Terms *terms)
{
    return &class->parts[class->n_parts > 1 ? part_of(class, terms) : 0];
}

/* Cuts the range of reputations and that of latencies so that each piece has as many rows. */
static void choose_cuts(const Index *self, Class *class, const Priced *rows)
{
    for (int axis = 0; axis < 2; axis++) {
        u32 seen[1001] = {0}, below = 0, cut = 0;
        for (u32 i = 0; i < class->listed; i++) {
            const Terms *terms = &self->offers[rows[i].offer].terms;
            seen[axis ? terms->latency : terms->reputation]++;
        }
        for (u32 value = 0; value <= 1000; value++)
            for (below += seen[value]; cut < SIDE - 1 && below > class->listed / SIDE * (cut + 1); cut++)
                class->cut[axis][cut] = (u16)value;
    }
}

/* The rows of a class in ascending price, malloc'ed. */
static Priced *priced_rows(const Class *class)
{
    u32 count = 0;
    Priced *rows = malloc((class->listed + 1) * sizeof *rows);
    for (u32 part = 0; rows && part < class->n_parts; part++)
        for (u32 i = 0; i < class->parts[part].n_zones; i++) {
            const Zone *zone = &class->parts[part].zones[i];
            for (u32 lane = 0; lane < zone->count; lane++)
                rows[count++] = (Priced){zone->block->terms[lane].price, zone->block->offer[lane]};
        }
    if (rows)
        qsort(rows, count, sizeof *rows, by_price);
    return rows;
}

/* Lists a class anew in so many parts. Where there is no memory for that it stays as it is, if slower to search. */
static void divide(Index *self, Class *class, u32 n_parts)
{
    u32 count = class->listed, old_parts = class->n_parts, sizes[PARTS] = {0};
    Cell *parts = new_parts(class, n_parts), *old = class->parts;
    Priced *rows = priced_rows(class);
    bool ready = parts && rows && reserve_blocks(self, count / ROOMY + n_parts)
        && grow(&self->hopes, &self->hope_room, self->n_cells + n_parts + 1ULL, sizeof(Hope));
    if (ready)
        choose_cuts(self, class, rows);
    for (u32 i = 0; ready && i < count; i++)
        sizes[n_parts > 1 ? part_of(class, &self->offers[rows[i].offer].terms) : 0]++;
    for (u32 i = 0; ready && i < n_parts; i++)
        ready = grow(&parts[i].zones, &parts[i].room, sizes[i] / ROOMY + 1, sizeof(Zone));
    if (ready) {
        for (u32 i = 0; i < old_parts; i++)
            while (old[i].n_zones)
                close_zone(self, &old[i].zones[old[i].n_zones - 1]);
        self->n_cells += n_parts - old_parts;
        class->parts = parts;
        class->n_parts = n_parts;
        class->listed = 0;
        class->all = (Cell){.best = WORST, .class = class};
        class->start = n_parts > 1 ? &class->all : parts;
    }
    for (u32 i = 0; ready && i < count; i++) {
        Cell *cell = cell_for(class, &self->offers[rows[i].offer].terms);
        if (!cell->n_zones || cell->zones[cell->n_zones - 1].count >= ROOMY)
            open_zone(self, cell, cell->n_zones);
        add_row(self, &cell->zones[cell->n_zones - 1], rows[i].offer);
    }
    free_parts(ready ? old : parts, ready ? old_parts : n_parts);
    free(rows);
}

static void divide_as_needed(Index *self, Class *class)
{
    if (class->n_parts == 1 && class->listed >= DIVIDE_AT)
        divide(self, class, PARTS);
    else if (class->n_parts > 1 && class->listed < UNITE_AT)
        divide(self, class, 1);
}

/* ---- The search ---- */

/* The best so far, as a heap with the worst of them on top. */
typedef struct {
    Found *found;
    u32 count, wanted;
} Best;

static bool is_better(const Index *self, const Found *a, const Found *b)
{
    if (a->score != b->score)
        return a->score < b->score;
    if (a->mixed != b->mixed)
        return a->mixed < b->mixed;
    const Offer *x = &self->offers[a->offer], *y = &self->offers[b->offer];
    int order = memcmp(x->id, y->id, x->id_size < y->id_size ? x->id_size : y->id_size);
    if (order || x->id_size != y->id_size)
        return order ? order < 0 : x->id_size < y->id_size;
    return x->handle < y->handle;
}

static void sink(const Index *self, Found *found, u32 count)
{
    Found moved = found[0];
    u32 at = 0;
    for (u32 child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && is_better(self, &found[child], &found[child + 1]);
        if (!is_better(self, &moved, &found[child]))
            break;
        found[at] = found[child];
    }
    found[at] = moved;
}

static void keep(const Index *self, Best *best, Found one)
{
    Found *found = best->found;
    if (best->count == best->wanted) {
        if (is_better(self, &one, &found[0])) {
            found[0] = one;
            sink(self, found, best->count);
        }
        return;
    }
    u32 at = best->count++;
    for (; at && is_better(self, &found[(at - 1) / 2], &one); at = (at - 1) / 2)
        found[at] = found[(at - 1) / 2];
    found[at] = one;
}

/* Whether nothing with this score, or a larger one, can be among the best. */
static inline bool is_hopeless(const Best *best, u128 floor)
{
    return best->count == best->wanted && floor > best->found[0].score;
}

static void look_at(const Index *self, const Query *q, const Block *block, u32 lane, Best *best)
{
    const Terms *terms = &block->terms[lane];
    u128 points = score(q, terms, terms->price, true);
    if (terms->price > q->max_price || is_hopeless(best, points))
        return;
    const Offer *offer = &self->offers[block->offer[lane]];
    if (!fits(offer, q))
        return;
    if (q->fetches && !holds(offer->images, offer->n_images, q->image))
        points = score(q, terms, terms->price, false);
    if (!is_hopeless(best, points))
        keep(self, best, (Found){points, mix(offer->tie ^ q->tie), block->offer[lane]});
}

static u32 cheapest_lane(const Block *block, u64 mask)
{
    u32 cheapest = (u32)__builtin_ctzll(mask);
    for (; mask; mask &= mask - 1) {
        u32 lane = (u32)__builtin_ctzll(mask);
        cheapest = block->price[lane] < block->price[cheapest] ? lane : cheapest;
    }
    return cheapest;
}

/* The price above which even a row with the best of everything in this zone is hopeless: a nanotoken more costs at
 * least `slope`, give or take a rounding of the risk. */
static u64 hopeless_above(const Query *q, const Zone *zone, const Best *best)
{
    u64 ms = q->ms;
    if (q->paced) {
        ms = q->work_1000 / zone->best.speed;
        ms = ms < q->max_ms ? ms : q->max_ms;
    }
    u128 slope = (u128)(q->slots * q->cost_1000) * ms, floor = score(q, &zone->best, 0, true);
    slope += (slope >> 10) * zone->best.failure;
    u128 room = best->found[0].score + q->cost_1000;
    u128 limit = room < floor ? 0 : slope ? (room - floor) / slope : UINT64_MAX;
    return limit > UINT64_MAX ? UINT64_MAX : (u64)limit;
}

static void search_block(const Index *self, const Query *q, const Zone *zone, Best *best)
{
    const Block *block = zone->block;
    u64 mask = may_fit_lanes(block, q, zone->count);
    if (__builtin_popcountll(mask) > MANY) {
        /* The cheapest is likely to be the best, and leaves few others to look at. */
        u32 first = cheapest_lane(block, mask);
        look_at(self, q, block, first, best);
        mask &= ~(1ULL << first);
        if (best->count == best->wanted)
            mask &= lanes_up_to(block->price, in_32_bits(hopeless_above(q, zone, best)));
    }
    for (; mask; mask &= mask - 1)
        look_at(self, q, block, (u32)__builtin_ctzll(mask), best);
}

/* Looks through a cell until the rest is too dear or hopeless. */
static void search_cell(const Index *self, const Query *q, const Cell *cell, Best *best)
{
    if (cell->n_zones == 1) { /* as good as the cell */
        search_block(self, q, &cell->zones[0], best);
        return;
    }
    for (u32 i = 0; i < cell->n_zones; i++) {
        const Zone *zone = &cell->zones[i];
        u64 price = zone->best.price;
        if (price > q->max_price)
            return;
        /* The next block is far away in memory: its first lines are asked for early, the rest then comes by itself. */
        for (int line = 0; i + 1 < cell->n_zones && line < 4; line++)
            __builtin_prefetch((const u8 *)zone[1].block + line * LINE);
        bool fit = may_fit(q->need, zone->sum);
        if (fit && !is_hopeless(best, score(q, &zone->best, price, true)))
            search_block(self, q, zone, best);
        else if ((fit || i % 8 == 7) && is_hopeless(best, score(q, &cell->best, price, true)))
            return;
    }
}

/* Whether there may be a row in a cell that fits. An empty one costs more than anybody has. */
static inline bool is_hopeful(const Query *q, const Cell *cell)
{
    return (cell->best.price <= q->max_price) & may_fit(q->need, cell->sum);
}

/* Adds a cell to a heap, the one with the smallest floor on top. */
static void push(const Query *q, Hope *hopes, u32 count, Cell *cell)
{
    Hope one = {score(q, &cell->best, cell->best.price, true), cell};
    for (; count && hopes[(count - 1) / 2].floor > one.floor; count = (count - 1) / 2)
        hopes[count] = hopes[(count - 1) / 2];
    hopes[count] = one;
}

static Cell *pop(Hope *hopes, u32 count)
{
    Cell *first = hopes[0].cell;
    Hope last = hopes[count - 1];
    u32 at = 0;
    for (u32 child; (child = 2 * at + 1) < count - 1; at = child) {
        child += child + 1 < count - 1 && hopes[child + 1].floor < hopes[child].floor;
        if (hopes[child].floor >= last.floor)
            break;
        hopes[at] = hopes[child];
    }
    hopes[at] = last;
    return first;
}

/* Fills `best`, the best of all first. It begins where most promises to be, so that the rest soon is hopeless. */
static void search(const Index *self, const Query *q, Best *best)
{
    const u16 *classes = q->classes ? q->classes : q->few_classes;
    Hope *hopes = self->hopes;
    u32 hopeful = 0, count = 0;
    /* Nobody can foretell which classes may do, so no branch depends on it. */
    for (u32 i = 0; i < q->n_classes; i++) {
        Class *class = class_at(self, classes[i]);
        if (class) {
            hopes[hopeful].cell = class->start;
            hopeful += is_hopeful(q, class->start);
        }
    }
    for (; count < hopeful; count++)
        push(q, hopes, count, hopes[count].cell);
    while (count && !is_hopeless(best, hopes[0].floor)) {
        Cell *cell = pop(hopes, count--);
        if (cell != &cell->class->all)
            search_cell(self, q, cell, best);
        else
            for (u32 i = 0; i < PARTS; i++)
                if (is_hopeful(q, &cell->class->parts[i]))
                    push(q, hopes, count++, &cell->class->parts[i]);
    }
    for (u32 left = best->count; left > 1; left--) {
        Found worst = best->found[0];
        best->found[0] = best->found[left - 1];
        best->found[left - 1] = worst;
        sink(self, best->found, left - 1);
    }
}

/* ---- From Python objects, each of which is checked before anything is changed ---- */

static int ascending(const void *a, const void *b)
{
    u64 x = *(const u64 *)a, y = *(const u64 *)b;
    return (x > y) - (x < y);
}

static bool is_a(PyObject *object, bool right, const char *name, const char *type)
{
    if (!right)
        PyErr_Format(PyExc_TypeError, "%s must be %s, not %R", name, type, (PyObject *)Py_TYPE(object));
    return right;
}

static bool read_number(PyObject *object, const char *name, u64 most, u64 *number)
{
    if (!is_a(object, PyLong_Check(object), name, "an int"))
        return false;
    *number = PyLong_AsUnsignedLongLong(object);
    if ((*number == UINT64_MAX && PyErr_Occurred()) || *number > most) {
        PyErr_Format(PyExc_ValueError, "%s must be from 0 to %llu", name, (unsigned long long)most);
        return false;
    }
    return true;
}

static bool read_fields(PyObject *tuple, const Field *fields, int size, u64 *values)
{
    bool right = PyTuple_Check(tuple) && PyTuple_Size(tuple) == size;
    if (!is_a(tuple, right, "the argument", fields == row_fields ? "a Row" : "a Query"))
        return false;
    for (int i = 0; i < size; i++)
        if (fields[i].most && !read_number(PyTuple_GetItem(tuple, i), fields[i].name, fields[i].most, &values[i]))
            return false;
    return true;
}

/* The ints of a set or tuple that are from 0 to `most`, ascending, each once; no other can be equal to anything here.
 * Returns how many, -1 on an error. */
static Py_ssize_t read_numbers(PyObject *object, u64 most, u64 **numbers)
{
    Py_ssize_t size = PyObject_Size(object), count = 0, unique = 0;
    PyObject *iterator = size < 0 || (u64)size > UINT32_MAX ? NULL : PyObject_GetIter(object), *item;
    u64 *found = iterator ? malloc(((size_t)size + 1) * sizeof(u64)) : NULL;
    if (!found && !PyErr_Occurred())
        iterator ? (void)PyErr_NoMemory() : PyErr_SetString(PyExc_ValueError, "too many in one set");
    while (!PyErr_Occurred() && (item = PyIter_Next(iterator))) {
        if (is_a(item, PyLong_Check(item) && count < size, "what is in a set or tuple", "an int")) {
            u64 value = PyLong_AsUnsignedLongLong(item);
            if (value == UINT64_MAX && PyErr_Occurred())
                PyErr_Clear();
            else if (value <= most)
                found[count++] = value;
        }
        Py_DECREF(item);
    }
    Py_XDECREF(iterator);
    if (PyErr_Occurred()) {
        free(found);
        return -1;
    }
    qsort(found, (size_t)count, sizeof(u64), ascending);
    for (Py_ssize_t i = 0; i < count; i++)
        if (!unique || found[unique - 1] != found[i])
            found[unique++] = found[i];
    *numbers = found;
    return unique;
}

/* The row as an offer that is in no block yet. Its images are malloc'ed, its id and the row itself borrowed. */
static bool read_row(PyObject *row, Offer *o)
{
    u64 v[ROW_SIZE];
    if (!read_fields(row, row_fields, ROW_SIZE, v))
        return false;
    PyObject *id = PyTuple_GetItem(row, R_id), *images = PyTuple_GetItem(row, R_images);
    if (!is_a(id, PyBytes_Check(id), "id", "bytes") || !is_a(images, PyAnySet_Check(images), "images", "a set"))
        return false;
    if (!v[R_speed]) {
        PyErr_SetString(PyExc_ValueError, "speed must be above 0");
        return false;
    }
    *o = (Offer){
        .terms = {v[R_price], v[R_opening], (u32)v[R_speed], (u32)v[R_link], (u16)v[R_perf], (u16)v[R_reputation],
                  (u16)v[R_latency], (u16)v[R_failure]},
        .tie = v[R_tie], .expires = v[R_expires], .provider = v[R_provider], .venue = v[R_venue],
        .region = v[R_region], .jurisdiction = v[R_jurisdiction], .runtimes = v[R_runtimes], .flags = v[R_flags],
        .vram = (u32)v[R_vram], .cpu = (u32)v[R_cpu], .memory = (u32)v[R_memory], .disk = (u32)v[R_disk],
        .cuda = (u32)v[R_cuda], .driver = (u32)v[R_driver], .notice = (u32)v[R_notice], .rtt_us = (u32)v[R_rtt_us],
        .reputation = (u16)v[R_reputation], .handle = (u32)v[R_handle], .klass = (u16)v[R_klass],
        .free = (u16)v[R_free], .id = PyBytes_AsString(id), .id_size = (size_t)PyBytes_Size(id), .row = row,
    };
    Py_ssize_t n_images = PySet_Size(images) ? read_numbers(images, ANY, &o->images) : 0;
    o->n_images = (u32)n_images;
    return n_images >= 0;
}

static u32 bits(u64 value) { return value ? 64 - (u32)__builtin_clzll(value) : 0; }

static u32 larger(u32 a, u32 b) { return a > b ? a : b; }

/* Whether every score a row can have fits into 128 bits. A product has at most as many bits as its factors together. */
static bool has_room(const u64 *v)
{
    u64 mib = v[Q_image_mib] + v[Q_moved_mib], weights = v[Q_w_speed] + v[Q_w_reliability] + v[Q_w_latency];
    u32 compute = bits(MAX_PRICE) + bits(v[Q_slots]) + bits(v[Q_max_ms]);
    u32 bytes = mib ? bits(v[Q_waiting]) + bits(mib) + bits(MAX_LINK) - 10 : 0;
    u32 spent_and_risk = larger(compute, bytes) + 3;
    u32 total = larger(spent_and_risk, bits(MAX_OPENING) + bits(NANO_MS_PER_UNIT)) + 1;
    u32 others = bits(v[Q_reference]) + bits(v[Q_slots]) + bits(v[Q_work_ms]) + bits(1000 * weights);
    return larger(total + bits(1000 * v[Q_w_cost]), others) + 1 <= 128;
}

static void free_query(Query *q)
{
    free(q->classes);
    free(q->allow);
    free(q->deny);
    q->classes = NULL;
    q->allow = q->deny = NULL;
}

static bool read_sets(PyObject *tuple, Query *q)
{
    PyObject *classes = PyTuple_GetItem(tuple, Q_classes), *allow = PyTuple_GetItem(tuple, Q_allow),
             *deny = PyTuple_GetItem(tuple, Q_deny);
    q->allows = allow != Py_None;
    if (!is_a(classes, PyTuple_Check(classes), "classes", "a tuple")
        || !is_a(deny, PyAnySet_Check(deny), "deny", "a set")
        || !is_a(allow, !q->allows || PyAnySet_Check(allow), "allow", "a set or None"))
        return false;
    u64 *numbers = NULL;
    Py_ssize_t n_classes = read_numbers(classes, MAX_CLASS, &numbers), n_allow = 0, n_deny = 0;
    if (n_classes > (Py_ssize_t)(sizeof q->few_classes / sizeof *q->few_classes)
        && !(q->classes = malloc((size_t)n_classes * sizeof *q->classes))) {
        PyErr_NoMemory();
        n_classes = -1;
    }
    for (Py_ssize_t i = 0; i < n_classes; i++)
        (q->classes ? q->classes : q->few_classes)[i] = (u16)numbers[i];
    free(numbers);
    if (n_classes >= 0 && q->allows)
        n_allow = read_numbers(allow, INT64_MAX, &q->allow);
    if (n_classes >= 0 && n_allow >= 0 && PySet_Size(deny))
        n_deny = read_numbers(deny, INT64_MAX, &q->deny);
    q->n_classes = (u16)n_classes;
    q->n_allow = (u32)n_allow;
    q->n_deny = (u32)n_deny;
    q->picky = q->allows || n_deny;
    return n_classes >= 0 && n_allow >= 0 && n_deny >= 0;
}

/* No row has figures above 32 bits, or a bit in common with nothing. */
static bool is_impossible(const u64 *v)
{
    static const int at_most_32_bits[] = {Q_vram, Q_cpu, Q_memory, Q_disk, Q_cuda, Q_driver, Q_notice, Q_reputation};
    for (u32 i = 0; i < sizeof at_most_32_bits / sizeof *at_most_32_bits; i++)
        if (v[at_most_32_bits[i]] > UINT32_MAX)
            return true;
    return !v[Q_venue] || !v[Q_regions] || !v[Q_jurisdictions];
}

/* Compiles a Query. Whatever comes of it, `free_query` frees it. */
static bool read_query(PyObject *tuple, Query *q)
{
    u64 v[QUERY_SIZE];
    *q = (Query){0};
    if (!read_fields(tuple, query_fields, QUERY_SIZE, v))
        return false;
    if (!v[Q_slots] || !has_room(v)) {
        PyErr_SetString(PyExc_ValueError, v[Q_slots] ? "the scores could be too large" : "slots must be above 0");
        return false;
    }
    *q = (Query){
        .tie = v[Q_tie], .now = v[Q_now], .venue = v[Q_venue], .max_price = v[Q_max_price],
        .max_price_32 = in_32_bits(v[Q_max_price]), .now_32 = coarse_time(v[Q_now]), .slots = v[Q_slots],
        .vram = (u32)v[Q_vram], .vram_max = in_32_bits(v[Q_vram_max]), .cpu = (u32)v[Q_cpu],
        .memory = (u32)v[Q_memory], .disk = (u32)v[Q_disk], .cuda = (u32)v[Q_cuda], .driver = (u32)v[Q_driver],
        .notice = (u32)v[Q_notice], .reputation = (u32)v[Q_reputation], .max_rtt_us = in_32_bits(v[Q_max_rtt_us]),
        .regions = v[Q_regions], .jurisdictions = v[Q_jurisdictions], .runtimes = v[Q_runtimes], .barred = v[Q_barred],
        .paced = v[Q_paced], .max_ms = v[Q_max_ms], .ms = v[Q_work_ms] < v[Q_max_ms] ? v[Q_work_ms] : v[Q_max_ms],
        .work_1000 = v[Q_work_ms] * 1000, .image = v[Q_image], .image_mib = v[Q_image_mib],
        .moved_mib = v[Q_moved_mib], .waiting = v[Q_waiting],
        .fetches = v[Q_waiting] && (v[Q_image_mib] || v[Q_moved_mib]), .cost_1000 = v[Q_w_cost] * 1000,
        .opening_cost = v[Q_w_cost] * 1000 * NANO_MS_PER_UNIT, .w_speed = v[Q_w_speed],
        .w_reliability = v[Q_w_reliability], .w_latency = v[Q_w_latency],
    };
    if (q->w_speed || q->w_reliability || q->w_latency)
        q->going = (u128)v[Q_reference] * v[Q_slots] * v[Q_work_ms];
    q->need = need_of(q);
    if (!read_sets(tuple, q))
        return false;
    if (is_impossible(v))
        q->n_classes = 0;
    return true;
}

static PyObject *from_score(u128 score)
{
    if (!(score >> 64))
        return PyLong_FromUnsignedLongLong((u64)score);
    char digits[33];
    snprintf(digits, sizeof digits, "%llx%016llx", (unsigned long long)(score >> 64), (unsigned long long)score);
    return PyLong_FromString(digits, NULL, 16);
}

/* ---- The types ---- */

#define PACKED "market._offer_index.PackedQuery"

static void drop_packed(PyObject *capsule)
{
    Query *query = PyCapsule_GetPointer(capsule, PACKED);
    free_query(query);
    free(query);
}

/* A compiled query as a Python object that says nothing. */
static PyObject *index_pack(PyObject *Py_UNUSED(type), PyObject *tuple)
{
    Query *query = allocate(1, sizeof *query);
    if (!query)
        return PyErr_NoMemory();
    PyObject *capsule = read_query(tuple, query) ? PyCapsule_New(query, PACKED, drop_packed) : NULL;
    if (!capsule) {
        free_query(query);
        free(query);
    }
    return capsule;
}

/* A query given either way. `own` is filled, if need be, and to be freed afterwards; NULL on an error. */
static const Query *query_of(PyObject *given, Query *own)
{
    if (PyCapsule_CheckExact(given)) {
        own->classes = NULL;
        own->allow = own->deny = NULL;
        return PyCapsule_GetPointer(given, PACKED);
    }
    if (read_query(given, own))
        return own;
    free_query(own);
    return NULL;
}

static PyObject *index_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_Size(args) || (kwargs && PyDict_Size(kwargs))) {
        PyErr_SetString(PyExc_TypeError, "NativeIndex() takes no arguments");
        return NULL;
    }
    return PyType_GenericAlloc(type, 0);
}

static int index_traverse(PyObject *object, visitproc visit, void *arg)
{
    Index *self = (Index *)object;
    Py_VISIT(Py_TYPE(object));
    for (u32 i = 0; i < self->n_offers; i++)
        Py_VISIT(self->offers[i].row);
    return 0;
}

/* First leaves an empty index, then lets go of the rows: what that sets off may use the index again. */
static int index_clear(PyObject *object)
{
    Index *self = (Index *)object, was = *self;
    memset((char *)self + offsetof(Index, offers), 0, sizeof *self - offsetof(Index, offers));
    for (u32 i = 0; i < was.n_classes; i++)
        if (was.classes[i]) {
            for (u32 part = 0; part < was.classes[i]->n_parts; part++)
                for (u32 zone = 0; zone < was.classes[i]->parts[part].n_zones; zone++)
                    free(was.classes[i]->parts[part].zones[zone].block);
            free_parts(was.classes[i]->parts, was.classes[i]->n_parts);
            free(was.classes[i]);
        }
    for (Block *block = was.spare, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    for (u32 i = 0; i < was.n_offers; i++) {
        free(was.offers[i].images);
        Py_XDECREF(was.offers[i].row);
    }
    free(was.offers);
    free(was.by_handle);
    free(was.classes);
    free(was.hopes);
    return 0;
}

static void index_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    index_clear(object);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static Py_ssize_t index_length(PyObject *self) { return ((Index *)self)->length; }

/* The offer of a handle, NULL for none. False, with an exception set, where the handle is no int. */
static bool find(const Index *self, PyObject *handle, Offer **offer)
{
    if (!is_a(handle, PyLong_Check(handle), "a handle", "an int"))
        return false;
    u64 number = PyLong_AsUnsignedLongLong(handle);
    PyErr_Clear();
    u32 place = number < self->handles ? self->by_handle[number] : 0;
    *offer = place ? &self->offers[place - 1] : NULL;
    return true;
}

static bool reserve_handle(Index *self, u32 handle)
{
    return grow(&self->by_handle, &self->handles, handle + 1ULL, sizeof(u32))
        && grow(&self->offers, &self->offer_room, self->n_offers + 1ULL, sizeof(Offer));
}

static u32 place_of(Index *self, u32 handle)
{
    if (!self->by_handle[handle]) {
        u32 number = self->vacant ? self->vacant - 1 : self->n_offers++;
        if (self->vacant)
            self->vacant = self->offers[number].handle;
        self->offers[number] = (Offer){0};
        self->by_handle[handle] = number + 1;
        self->length++;
    }
    return self->by_handle[handle] - 1;
}

static PyObject *index_put(PyObject *object, PyObject *row)
{
    Index *self = (Index *)object;
    Offer new;
    if (!read_row(row, &new))
        return NULL;
    Class *class = reserve_class(self, new.klass);
    Cell *cell = class ? cell_for(class, &new.terms) : NULL;
    if (!cell || !reserve_handle(self, new.handle) || !reserve(self, cell)) {
        free(new.images);
        return PyErr_NoMemory();
    }
    u32 number = place_of(self, new.handle);
    Offer *offer = &self->offers[number], old = *offer;
    Py_INCREF(row);
    if (old.block)
        unlist(self, offer);
    *offer = new;
    if (new.free)
        list_row(self, cell, number);
    divide_as_needed(self, class);
    free(old.images);
    Py_XDECREF(old.row);
    Py_RETURN_NONE;
}

static PyObject *index_drop(PyObject *object, PyObject *handle)
{
    Index *self = (Index *)object;
    Offer *offer;
    if (!find(self, handle, &offer))
        return NULL;
    if (offer) {
        if (offer->block)
            unlist(self, offer);
        Offer old = *offer;
        *offer = (Offer){.handle = self->vacant};
        self->vacant = self->by_handle[old.handle];
        self->by_handle[old.handle] = 0;
        self->length--;
        divide_as_needed(self, self->classes[old.klass]);
        free(old.images);
        Py_DECREF(old.row);
    }
    Py_RETURN_NONE;
}

static PyObject *index_free(PyObject *self, PyObject *handle)
{
    Offer *offer;
    return find((Index *)self, handle, &offer) ? PyLong_FromLong(offer ? offer->free : 0) : NULL;
}

/* Commits slots that are there. */
static void take_slots(Index *self, Offer *offer, u64 slots)
{
    offer->free = (u16)(offer->free - slots);
    if (offer->free)
        rewrite_free(offer);
    else if (offer->block)
        unlist(self, offer);
}

/* The `handle, slots` of a call. */
static bool read_slots(const Index *self, PyObject *const *args, Py_ssize_t count, Offer **offer, u64 *slots)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected a handle and slots");
        return false;
    }
    return read_number(args[1], "slots", MAX_SLOTS, slots) && find(self, args[0], offer);
}

static PyObject *index_take(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Offer *offer;
    u64 slots;
    if (!read_slots((Index *)self, args, count, &offer, &slots))
        return NULL;
    bool enough = offer && offer->free >= slots;
    if (enough)
        take_slots((Index *)self, offer, slots);
    return PyBool_FromLong(enough);
}

static PyObject *index_give(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    Index *self = (Index *)object;
    Offer *offer;
    u64 slots;
    if (!read_slots(self, args, count, &offer, &slots))
        return NULL;
    if (!offer || !slots)
        Py_RETURN_NONE;
    if (offer->free + slots > MAX_SLOTS)
        return PyErr_Format(PyExc_ValueError, "a row cannot have more than %d free slots", MAX_SLOTS);
    Cell *cell = cell_for(self->classes[offer->klass], &offer->terms);
    if (!offer->block && !reserve(self, cell))
        return PyErr_NoMemory();
    offer->free = (u16)(offer->free + slots);
    if (offer->block)
        rewrite_free(offer);
    else
        list_row(self, cell, self->by_handle[offer->handle] - 1);
    Py_RETURN_NONE;
}

static PyObject *index_top(PyObject *object, PyObject *const *args, Py_ssize_t n_args)
{
    enum { FEW = 32 };
    Index *self = (Index *)object;
    Query own;
    if (n_args != 2 || !PyLong_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "expected a query and how many");
        return NULL;
    }
    const Query *q = query_of(args[0], &own);
    if (!q)
        return NULL;
    int overflow;
    long long count = PyLong_AsLongLongAndOverflow(args[1], &overflow);
    u32 wanted = overflow > 0 || count > self->length ? self->length : overflow || count < 0 ? 0 : (u32)count;
    Found few[FEW];
    Best best = {wanted > FEW ? malloc(wanted * sizeof(Found)) : few, 0, wanted};
    if (best.found && wanted)
        search(self, q, &best);
    free_query(&own);
    /* Making objects may set off anything: from here on handles are used, not offers. */
    for (u32 i = 0; i < best.count; i++)
        best.found[i].offer = self->offers[best.found[i].offer].handle;
    PyObject *list = best.found ? PyList_New(best.count) : PyErr_NoMemory();
    for (u32 i = 0; list && i < best.count; i++) {
        PyObject *points = from_score(best.found[i].score);
        PyObject *pair = points ? Py_BuildValue("(Nk)", points, (unsigned long)best.found[i].offer) : NULL;
        if (!pair || PyList_SetItem(list, i, pair) < 0)
            Py_CLEAR(list);
    }
    if (best.found != few)
        free(best.found);
    return list;
}

/* Takes the query's slots from its best row: the row's handle, or -1. */
static long match(Index *self, const Query *q)
{
    Found found;
    Best best = {&found, 0, 1};
    search(self, q, &best);
    if (!best.count)
        return -1;
    Offer *offer = &self->offers[found.offer];
    take_slots(self, offer, q->slots);
    return (long)offer->handle;
}

static PyObject *index_match(PyObject *self, PyObject *query)
{
    Query own;
    const Query *q = query_of(query, &own);
    if (!q)
        return NULL;
    long handle = match((Index *)self, q);
    free_query(&own);
    return PyLong_FromLong(handle);
}

/* All are read first, so that a bad one changes nothing. */
static PyObject *index_match_all(PyObject *object, PyObject *queries)
{
    Index *self = (Index *)object;
    PyObject *list = PySequence_List(queries);
    for (Py_ssize_t i = 0; list && i < PyList_Size(list); i++) {
        PyObject *query = PyList_GetItem(list, i);
        if (PyCapsule_IsValid(query, PACKED))
            continue;
        query = index_pack(NULL, query);
        if (!query || PyList_SetItem(list, i, query) < 0)
            Py_CLEAR(list);
    }
    for (Py_ssize_t i = 0; list && i < PyList_Size(list); i++) {
        PyObject *handle = PyLong_FromLong(match(self, PyCapsule_GetPointer(PyList_GetItem(list, i), PACKED)));
        if (!handle || PyList_SetItem(list, i, handle) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static u32 count_up_to(const Class *class, u64 price)
{
    u32 count = 0;
    for (u32 part = 0; part < class->n_parts; part++) {
        const Cell *cell = &class->parts[part];
        for (u32 i = 0; i < cell->n_zones && cell->zones[i].best.price <= price; i++) {
            const Zone *zone = &cell->zones[i];
            if (i + 1 < cell->n_zones && zone[1].best.price <= price)
                count += zone->count;
            else
                for (u32 lane = 0; lane < zone->count; lane++)
                    count += zone->block->terms[lane].price <= price;
        }
    }
    return count;
}

/* The smallest price that half of the rows do not exceed. */
static u64 lower_median(const Class *class)
{
    u64 low = MAX_PRICE, high = 0;
    for (u32 i = 0; i < class->n_parts; i++)
        if (class->parts[i].n_zones) {
            const Zone *first = class->parts[i].zones, *last = first + class->parts[i].n_zones - 1;
            low = first->best.price < low ? first->best.price : low;
            for (u32 lane = 0; lane < last->count; lane++)
                high = last->block->terms[lane].price > high ? last->block->terms[lane].price : high;
        }
    while (low < high) {
        u64 middle = low + (high - low) / 2;
        if (count_up_to(class, middle) >= (class->listed + 1) / 2)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static PyObject *index_prices(PyObject *self, PyObject *klass)
{
    if (!is_a(klass, PyLong_Check(klass), "a class", "an int"))
        return NULL;
    Class *class = class_at((Index *)self, PyLong_AsUnsignedLongLong(klass));
    PyErr_Clear();
    if (!class || !class->listed)
        return Py_BuildValue("(ii)", 0, 0);
    if (!class->median_known)
        class->median = lower_median(class);
    class->median_known = true;
    return Py_BuildValue("(kK)", (unsigned long)class->listed, (unsigned long long)class->median);
}

/* `_replace` may set off anything, so the offers are looked up anew each time. */
static PyObject *index_rows(PyObject *object, PyObject *Py_UNUSED(none))
{
    Index *self = (Index *)object;
    PyObject *list = PyList_New(0), *nothing = PyTuple_New(0), *iterator = NULL;
    for (u32 i = 0; list && nothing && i < self->n_offers; i++) {
        PyObject *row = self->offers[i].row;
        if (!row)
            continue;
        long free_now = self->offers[i].free;
        Py_INCREF(row);
        if (PyLong_AsLong(PyTuple_GetItem(row, R_free)) != free_now) {
            PyObject *replace = PyObject_GetAttrString(row, "_replace");
            PyObject *change = Py_BuildValue("{s:l}", "free", free_now);
            Py_DECREF(row);
            row = replace && change ? PyObject_Call(replace, nothing, change) : NULL;
            Py_XDECREF(replace);
            Py_XDECREF(change);
        }
        if (!row || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    if (list && nothing)
        iterator = PyObject_GetIter(list);
    Py_XDECREF(list);
    Py_XDECREF(nothing);
    return iterator;
}

#define FAST(function) (PyCFunction)(void (*)(void))function

static PyMethodDef index_methods[] = {
    {"put", index_put, METH_O, "put($self, row, /)\n--\n\nInsert a row, or replace the one with the same handle."},
    {"drop", index_drop, METH_O, "drop($self, handle, /)\n--\n\nForget a row; nothing happens when there is none."},
    {"free", index_free, METH_O, "free($self, handle, /)\n--\n\nSlots that are free now; 0 for a row not here."},
    {"take", FAST(index_take), METH_FASTCALL,
     "take($self, handle, slots, /)\n--\n\nCommit slots; False, and nothing changed, when fewer are free."},
    {"give", FAST(index_give), METH_FASTCALL,
     "give($self, handle, slots, /)\n--\n\nRelease slots; nothing happens when the row is gone."},
    {"top", FAST(index_top), METH_FASTCALL,
     "top($self, query, count, /)\n--\n\nThe best rows as (score, handle), best first, as scan finds them."},
    {"match", index_match, METH_O,
     "match($self, query, /)\n--\n\nTake the query's slots from its best row: the row's handle, or -1."},
    {"match_all", index_match_all, METH_O,
     "match_all($self, queries, /)\n--\n\nMatch one after the other, each with what those before it left."},
    {"prices", index_prices, METH_O,
     "prices($self, klass, /)\n--\n\nHow many rows of a class have free slots, and their lower median price."},
    {"rows", index_rows, METH_NOARGS, "rows($self, /)\n--\n\nEvery row with its slots that are free now."},
    {"pack", index_pack, METH_O | METH_STATIC,
     "pack(query, /)\n--\n\nA query made ready for top, match and match_all."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot index_slots[] = {
    {Py_tp_doc, "The rows of a book, by price within their class: OfferIndex in C.\n\n"
                "Handles are smaller than 2**24, classes than 2**16. What no valid offer or bid can be raises\n"
                "TypeError or ValueError, and changes nothing."},
    {Py_tp_new, index_new}, {Py_tp_dealloc, index_dealloc}, {Py_tp_traverse, index_traverse},
    {Py_tp_clear, index_clear}, {Py_tp_methods, index_methods}, {Py_sq_length, index_length}, {0, NULL},
};
static PyType_Spec index_spec = {"market._offer_index.NativeIndex", sizeof(Index), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, index_slots};

/* The fields as compiled, so that a library older than the Python around it is noticed. */
static bool add_names(PyObject *module, const char *name, const Field *fields, int count)
{
    PyObject *names = PyTuple_New(count);
    for (int i = 0; names && i < count; i++) {
        PyObject *one = PyUnicode_FromString(fields[i].name);
        if (!one || PyTuple_SetItem(names, i, one) < 0)
            Py_CLEAR(names);
    }
    bool added = names && PyModule_AddObjectRef(module, name, names) == 0;
    Py_XDECREF(names);
    return added;
}

static int module_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &index_spec, NULL);
    bool added = type && PyModule_AddType(module, (PyTypeObject *)type) == 0
        && add_names(module, "ROW_FIELDS", row_fields, ROW_SIZE)
        && add_names(module, "QUERY_FIELDS", query_fields, QUERY_SIZE);
    Py_XDECREF(type);
    return added ? 0 : -1;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT, "market._offer_index", "The offer index in C.", 0, NULL, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__offer_index(void) { return PyModuleDef_Init(&module_def); }
