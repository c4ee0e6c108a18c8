/* The search: the best so far, and what need not be looked at. */
#pragma once
#include "parts.h"

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
