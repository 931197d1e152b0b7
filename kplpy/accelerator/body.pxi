# Request bodies: the compiled twin of kplpy.aws.request_body. Included by native.pyx.

cdef extern from "kernels.h":
    ctypedef struct kpl_entry:
        const kpl_aggregate *aggregate
        const uint8_t *data
        size_t size
        const uint8_t *before
        const uint8_t *after
        size_t before_size
        size_t after_size
    uint8_t *kpl_entries_in_base64(uint8_t *out, kpl_entry *entries, size_t count, kpl_job *jobs) nogil
    uint8_t *kpl_entries_as_bytes(uint8_t *out, const kpl_entry *entries, size_t count, kpl_job *jobs) nogil


cdef struct Piece:
    const uint8_t *at
    size_t size


cdef inline Piece piece_of(bytes data) except *:
    cdef Piece piece
    piece.at = <const uint8_t *>PyBytes_AsString(data)
    piece.size = PyBytes_Size(data)
    return piece


def assemble(bytes start, list entries, bytes end, bint in_base64) -> bytes:
    """Return a request body. See kplpy.aws.request_body.assemble. All work on bytes is done without the GIL."""
    cdef list kept = list(entries)  # keeps alive what the pointers below point to
    cdef size_t count = len(kept), i
    cdef kpl_entry *all = <kpl_entry *>malloc((count or 1) * sizeof(kpl_entry))
    cdef kpl_job *jobs = <kpl_job *>malloc((count or 1) * sizeof(kpl_job))
    cdef Piece first = piece_of(start), last = piece_of(end)
    cdef size_t size = first.size + last.size
    cdef uint8_t *out
    cdef bytes body
    try:
        if all == NULL or jobs == NULL:
            raise MemoryError
        for i in range(count):
            describe_entry(&all[i], <tuple?>kept[i])
            size += all[i].before_size + all[i].after_size
            size += kpl_base64_size(all[i].size) if in_base64 else all[i].size
        body = PyBytes_FromStringAndSize(NULL, size)
        out = <uint8_t *>PyBytes_AsString(body)
        with nogil:
            memcpy(out, first.at, first.size)
            if in_base64:
                out = kpl_entries_in_base64(out + first.size, all, count, jobs)
            else:
                out = kpl_entries_as_bytes(out + first.size, all, count, jobs)
            if out != NULL:
                memcpy(out, last.at, last.size)
        if out == NULL:
            raise MemoryError
        return body
    finally:
        free(all)
        free(jobs)


cdef int describe_entry(kpl_entry *entry, tuple item) except -1:
    """Let the entry point to what the item has: (data, before, after)."""
    content, before, after = item
    cdef Piece piece
    if isinstance(content, Packing):
        entry.aggregate = &(<Packing>content)._aggregate
        entry.data = NULL
        entry.size = (<Packing>content).size
    else:
        piece = piece_of(<bytes?>content)
        entry.aggregate = NULL
        entry.data = piece.at
        entry.size = piece.size
    piece = piece_of(<bytes?>before)
    entry.before = piece.at
    entry.before_size = piece.size
    piece = piece_of(<bytes?>after)
    entry.after = piece.at
    entry.after_size = piece.size
    return 0
