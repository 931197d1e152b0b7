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
    bint kpl_is_plain_text(const uint8_t *p, size_t n) nogil
    uint8_t *kpl_decimal(uint8_t *out, uint64_t high, uint64_t low) nogil
    size_t KPL_DECIMALS


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
    try:
        if all == NULL:
            raise MemoryError
        for i in range(count):
            describe_entry(&all[i], <tuple?>kept[i])
        return join_body(start, all, count, end, in_base64)
    finally:
        free(all)


cdef bytes join_body(bytes start, kpl_entry *entries, size_t count, bytes end, bint in_base64):
    """Return the body of these entries, whose bytes the caller keeps alive."""
    cdef kpl_job *jobs = <kpl_job *>malloc((count or 1) * sizeof(kpl_job))
    cdef Piece first = piece_of(start), last = piece_of(end)
    cdef size_t size = first.size + last.size, i
    cdef uint8_t *out
    cdef bytes body
    try:
        if jobs == NULL:
            raise MemoryError
        for i in range(count):
            size += entries[i].before_size + entries[i].after_size
            size += kpl_base64_size(entries[i].size) if in_base64 else entries[i].size
        body = PyBytes_FromStringAndSize(NULL, size)
        out = <uint8_t *>PyBytes_AsString(body)
        with nogil:
            memcpy(out, first.at, first.size)
            if in_base64:
                out = kpl_entries_in_base64(out + first.size, entries, count, jobs)
            else:
                out = kpl_entries_as_bytes(out + first.size, entries, count, jobs)
            if out != NULL:
                memcpy(out, last.at, last.size)
        if out == NULL:
            raise MemoryError
        return body
    finally:
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


cdef bytes FIRST_BEFORE = b'{"Data":"'
cdef bytes BEFORE = b',{"Data":"'
cdef bytes KEY_BEFORE = b'","PartitionKey":"'
cdef bytes HASH_KEY_BEFORE = b'","ExplicitHashKey":"'
cdef bytes RECORD_END = b'"}'


def assemble_json(bytes start, list batches, entry_of) -> bytes:
    """Return a body of PutRecords. See kplpy.aws.kinesis.request_json.assemble_json.

    The text around plain records that travel alone is written here. Python code gives that around others.
    """
    cdef list kept = []  # keeps alive what the pointers below point to
    cdef size_t count = len(batches), i, key_bytes = 0
    cdef kpl_entry *all = <kpl_entry *>malloc((count or 1) * sizeof(kpl_entry))
    cdef uint8_t *texts = NULL
    cdef uint8_t *at
    cdef FutureState record
    cdef Py_ssize_t size = 0
    cdef Piece piece
    cdef const char *key
    cdef list items
    try:
        if all == NULL:
            raise MemoryError
        for i in range(count):
            batch = batches[i]
            prefetch_batches(batches, i)
            if is_plain_single(batch):
                record = <FutureState>(<list>(<BatchState>batch).items)[0]
                utf8_of(record.partition_key, &size)
                key_bytes += size + KPL_DECIMALS
                kept.append((record, record.data, record.partition_key))
            else:
                kept.append(<tuple?>entry_of(batch))
        texts = <uint8_t *>malloc(key_bytes + count * (len(KEY_BEFORE) + len(HASH_KEY_BEFORE) + len(RECORD_END)) + 1)
        if texts == NULL:
            raise MemoryError
        at = texts
        for i in range(count):
            content, data, partition_key = <tuple>kept[i]
            if type(content) is FUTURE:
                record = <FutureState>content
                piece = piece_of(<bytes?>data)
                all[i].aggregate = NULL
                all[i].data, all[i].size = piece.at, piece.size
                all[i].after = at
                at = written(at, KEY_BEFORE)
                key = utf8_of(partition_key, &size)
                memcpy(at, key, size)
                at = written(at + size, HASH_KEY_BEFORE)
                at = written(kpl_decimal(at, record._high, record._low), RECORD_END)
                all[i].after_size = at - all[i].after
            else:
                describe_entry(&all[i], <tuple>kept[i])
            piece = piece_of(BEFORE if i else FIRST_BEFORE)
            all[i].before, all[i].before_size = piece.at, piece.size
        return join_body(start, all, count, b"]}", True)
    finally:
        free(all)
        free(texts)


cdef bint is_plain_single(batch) except -1:
    """Return True for a batch of one plain future, with a key that JSON writes as it is, and data that goes as it is."""
    cdef FutureState record
    cdef Py_ssize_t size = 0
    cdef const char *key
    if type(batch) is not BATCH or (<BatchState>batch).aggregated or (<BatchState>batch)._sealed:
        return False
    first = (<list?>(<BatchState>batch).items)[0]
    if type(first) is not FUTURE or not PyBytes_CheckExact((<FutureState>first).data):
        return False
    record = <FutureState>first
    if record._hash_key_state == LATER:
        compute_hash_key(record)
    if record._hash_key_state != KNOWN or not PyUnicode_CheckExact(record.partition_key):
        return False
    key = utf8_of(record.partition_key, &size)
    return kpl_is_plain_text(<const uint8_t *>key, size)


cdef inline uint8_t *written(uint8_t *at, bytes text) except NULL:
    """Write the text, and return the place after it."""
    cdef Piece piece = piece_of(text)
    memcpy(at, piece.at, piece.size)
    return at + piece.size
