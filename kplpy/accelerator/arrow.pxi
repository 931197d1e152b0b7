# Records of Arrow arrays, and counts of outcomes. Included by native.pyx.
#
# Data and keys are copied, each into the object that its record holds. So a record that waits long does not keep a whole
# batch alive, and no other code needs to know of Arrow.

cdef extern from "arrow.h":
    ctypedef struct kpl_arrow_schema "struct kpl_arrow_schema":
        pass
    ctypedef struct kpl_arrow_array "struct kpl_arrow_array":
        int64_t length
    ctypedef struct kpl_column:
        pass
    bint kpl_read_arrow(kpl_column *column, const kpl_arrow_schema *schema, const kpl_arrow_array *array)
    int64_t kpl_arrow_value(const kpl_column *column, int64_t i, const uint8_t **at)
    int64_t KPL_NULL

cdef extern from "Python.h":
    void *PyCapsule_GetPointer(object, const char *) except NULL
    object PyUnicode_DecodeUTF8(const char *, Py_ssize_t, const char *)


cdef class ArrowColumn:
    """An array of binary or text. The capsules keep its buffers alive."""

    cdef tuple _capsules
    cdef kpl_column _column
    cdef Py_ssize_t _length

    cdef bint read(self, array) except -1:
        """Read the array. False: it is of another type, which Python code converts."""
        cdef const kpl_arrow_array *found
        self._capsules = array.__arrow_c_array__()
        found = <const kpl_arrow_array *>PyCapsule_GetPointer(self._capsules[1], "arrow_array")
        self._length = found.length
        return kpl_read_arrow(
            &self._column, <const kpl_arrow_schema *>PyCapsule_GetPointer(self._capsules[0], "arrow_schema"), found
        )


def arrow_records(origin, data_array, key_array, Py_ssize_t plain_size, placeholder):
    """Return the futures of rows and their bytes, or None. See kplpy.validation.arrow_records."""
    cdef ArrowColumn all_data = ArrowColumn(), keys = ArrowColumn()  # without an array, all values are null
    if not all_data.read(data_array) or (key_array is not None and not keys.read(key_array)):
        return None
    if key_array is not None and keys._length != all_data._length:
        raise ValueError("the arrays differ in their lengths")
    cdef Py_ssize_t i, whole = 0
    cdef int64_t size, key_size
    cdef const uint8_t *at = NULL
    cdef const uint8_t *key_at = NULL
    cdef double arrival = now()
    cdef list records = []
    cdef FutureState record
    # The collector would walk through the list again and again. What it has refers to no list.
    PyObject_GC_UnTrack(<void *>records)
    for i in range(all_data._length):
        size = kpl_arrow_value(&all_data._column, i, &at)
        key_size = kpl_arrow_value(&keys._column, i, &key_at)
        if size < 0 or size > plain_size:
            return None
        data = PyBytes_FromStringAndSize(<const char *>at, size)
        if key_size == KPL_NULL:
            record = new_future(KEYLESS_FUTURE, origin, data, placeholder, KEYLESS, arrival)
        else:
            key = decoded(key_at, key_size)
            if key is None:
                return None
            record = new_future(FUTURE, origin, data, key, LATER, arrival)
        whole += record._payload
        records.append(record)
    return records, whole


cdef decoded(const uint8_t *at, int64_t size):
    """Return a partition key as str. None: it is not valid."""
    if not 1 <= size <= 4 * 256:
        return None
    try:
        key = PyUnicode_DecodeUTF8(<const char *>at, size, NULL)
    except UnicodeDecodeError:
        return None
    return key if is_valid_key(key) else None


def count_delivered(list futures, Py_ssize_t first, delivered):
    """Count outcomes from future number `first` on. See kplpy.futures.tally.count_delivered."""
    cdef Py_ssize_t count = len(futures), i, duplicates = 0
    cdef FutureState state
    for i in range(first, count):
        state = <FutureState?>futures[i]
        if type(state._outcome) is not delivered:
            return i, duplicates
        if state.maybe_written:
            duplicates += 1
    return max(first, count), duplicates
