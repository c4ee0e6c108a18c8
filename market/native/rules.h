/* The rules of the auction, as in market/offer_row.py: what fits, and the score. */
#pragma once
#include "kept.h"

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
