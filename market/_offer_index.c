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
 * free slot are in no block. What is kept as best may be better than what is there, for a while, but never worse.
 *
 * One translation unit, in the order of market/native: kept, rules, codes, cells, parts, search, reading, calls. */
#include "native/calls.h"

/* ---- The module ---- */

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
