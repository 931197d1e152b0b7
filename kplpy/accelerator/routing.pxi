# Finding the shards of records, and when they arrived. Included by native.pyx.

from array import array


cdef class HashKeyRanges:
    """The ranges of shards that cover all hash keys. See kplpy.core.routing.hash_key_ranges.HashKeyRanges."""

    cdef uint64_t *_ends  # the high and the low half of each
    cdef Py_ssize_t _count
    cdef int _by_first_byte[256]

    def __cinit__(self, list ends, list by_first_byte):
        cdef Py_ssize_t i
        self._count = len(ends)
        self._ends = <uint64_t *>malloc((self._count or 1) * 2 * sizeof(uint64_t))
        if self._ends == NULL:
            raise MemoryError
        for i in range(self._count):
            self._ends[2 * i], self._ends[2 * i + 1] = ends[i] >> 64, ends[i] & 0xFFFFFFFFFFFFFFFF
        if len(by_first_byte) != 256:
            raise ValueError("by_first_byte must have 256 entries")
        for i in range(256):
            self._by_first_byte[i] = by_first_byte[i]

    def __dealloc__(self):
        free(self._ends)

    def group(self, items, Py_ssize_t number):
        """Number the records, and group them by the index of their shard."""
        cdef list by_index = [None] * self._count
        cdef list groups = []
        cdef list group
        cdef Py_ssize_t index
        cdef PendingRecord record
        for item in items:
            record = <PendingRecord?>item
            if record._hash_key_state == LATER:
                compute_hash_key(record)
            if record._hash_key_state != KNOWN:
                return groups, number, record
            record.number = number
            number += 1
            index = self.index(record._high, record._low)
            found = by_index[index]
            if found is None:
                group = by_index[index] = []
                untrack(group)
                groups.append((index, group))
            else:
                group = <list>found
            group.append(record)
        return groups, number, None

    def append(self, items, Py_ssize_t number, list queues, Py_ssize_t pack_at, route, opened):
        """Number the records, and append each to the few of its shard's queue. Return the next number."""
        cdef PendingRecord record
        cdef list few
        for item in items:
            record = <PendingRecord?>item
            record.number = number
            number += 1
            if record._hash_key_state == LATER:
                compute_hash_key(record)
            if record._hash_key_state != KNOWN:
                route(item)
                continue
            queue = queues[self.index(record._high, record._low)]
            few = <list?>queue.few
            few.append(item)
            if len(few) >= pack_at or queue.open is None:
                for batch in queue.add([]):
                    opened(batch)
        return number

    cdef Py_ssize_t index(self, uint64_t high, uint64_t low) except -1:
        """Return the index of the hash key's shard."""
        cdef Py_ssize_t index = self._by_first_byte[high >> 56]
        cdef Py_ssize_t first = 0, last = self._count, middle
        cdef uint64_t end
        if index < 0:
            while first < last:
                middle = (first + last) // 2
                end = self._ends[2 * middle]
                if end < high or (end == high and self._ends[2 * middle + 1] < low):
                    first = middle + 1
                else:
                    last = middle
            index = first
        if index >= self._count:
            raise IndexError("the ranges do not cover this hash key")
        return index


def arrivals_of(list items):
    """Return the arrival times of the records, ascending."""
    cdef Py_ssize_t count = len(items), i
    cdef bytes raw = PyBytes_FromStringAndSize(NULL, count * sizeof(double))
    cdef double *times = <double *>PyBytes_AsString(raw)
    cdef bint ascending = True
    for i in range(count):
        times[i] = (<PendingRecord?>items[i]).arrival
        if i and times[i] < times[i - 1]:
            ascending = False
    arrivals = array("d", raw)
    return arrivals if ascending else array("d", sorted(arrivals))
