/* Memory, all of it taken before anything changes; and classes that are kept in parts. */
#pragma once
#include "cells.h"

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
