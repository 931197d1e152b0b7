/* Reads arrays of binary and text by the Arrow C data interface, without Python objects. See arrow.pxi.
 *
 * https://arrow.apache.org/docs/format/CDataInterface.html has the structs and the formats.
 */
#ifndef KPL_ARROW_H
#define KPL_ARROW_H

#include <stdint.h>
#include <string.h>

struct kpl_arrow_schema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct kpl_arrow_schema **children, *dictionary;
    void (*release)(struct kpl_arrow_schema *);
    void *private_data;
};

struct kpl_arrow_array {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct kpl_arrow_array **children, *dictionary;
    void (*release)(struct kpl_arrow_array *);
    void *private_data;
};

/* An array as it is read. Zeroed: it has nulls only. */
typedef struct {
    const uint8_t *validity; /* NULL: no value is null */
    const uint8_t *offsets;  /* NULL: nulls only */
    const uint8_t *data;
    int64_t first;    /* the row in the buffers that is row 0 of the array */
    int64_t data_end; /* the last offset: data beyond is not read */
    int is_large;     /* offsets have 64 bits, not 32 */
} kpl_column;

static inline int64_t kpl_arrow_offset(const kpl_column *column, int64_t i)
{
    int64_t wide;
    int32_t narrow;
    if (column->is_large) {
        memcpy(&wide, column->offsets + 8 * i, 8);
        return wide;
    }
    memcpy(&narrow, column->offsets + 4 * i, 4);
    return narrow;
}

/* Let the column read an array. Return 0 if it is none of binary, text, their large forms, and null. */
static int kpl_read_arrow(kpl_column *column, const struct kpl_arrow_schema *schema, const struct kpl_arrow_array *array)
{
    char kind = schema->format[0];
    memset(column, 0, sizeof *column);
    if (!kind || schema->format[1] || schema->dictionary || array->length < 0 || array->offset < 0)
        return 0;
    if (kind == 'n' || !array->length)
        return kind == 'n' || strchr("zuZU", kind) != NULL;
    if (!strchr("zuZU", kind) || array->n_buffers != 3 || !array->buffers[1])
        return 0;
    column->is_large = kind == 'Z' || kind == 'U';
    column->validity = array->null_count ? (const uint8_t *)array->buffers[0] : NULL;
    column->offsets = (const uint8_t *)array->buffers[1];
    column->data = (const uint8_t *)array->buffers[2];
    column->first = array->offset;
    column->data_end = kpl_arrow_offset(column, array->offset + array->length);
    return column->data_end == 0 || column->data != NULL;
}

enum { KPL_NULL = -1, KPL_DAMAGED = -2 };

/* Let `at` point to the value of row i, and return its size. KPL_NULL: there is none. KPL_DAMAGED: wrong offsets. */
static inline int64_t kpl_arrow_value(const kpl_column *column, int64_t i, const uint8_t **at)
{
    int64_t start, end;
    i += column->first;
    if (!column->offsets || (column->validity && !(column->validity[i >> 3] >> (i & 7) & 1)))
        return KPL_NULL;
    start = kpl_arrow_offset(column, i);
    end = kpl_arrow_offset(column, i + 1);
    if (start < 0 || end < start || end > column->data_end)
        return KPL_DAMAGED;
    *at = column->data + start;
    return end - start;
}

#endif
