/* Blocks of rows, their zones, and cells: rows come and go, and the best of each is kept. */
#pragma once
#include "codes.h"

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
