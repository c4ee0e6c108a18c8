/* What Python calls: the methods of the index. */
#pragma once
#include "reading.h"

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
