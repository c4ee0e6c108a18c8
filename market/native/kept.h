/* What the index is made of: the fields of rows and bids, and where rows are kept. */
#pragma once
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
