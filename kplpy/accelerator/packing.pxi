# Packing: the compiled twin of kplpy.wire.encode.Packing. Included by native.pyx.


cdef extern from "kernels.h":
    ctypedef struct kpl_buffer:
        uint8_t *at
        size_t size
        size_t capacity
    uint8_t *kpl_extend(kpl_buffer *buffer, size_t n) nogil
    void kpl_trim(kpl_buffer *buffer) nogil
    size_t kpl_varint_size(uint64_t n) nogil
    uint8_t *kpl_varint(uint8_t *p, uint64_t n) nogil
    ctypedef struct kpl_outside:
        size_t place
        const uint8_t *data
        size_t size
    ctypedef struct kpl_aggregate:
        kpl_buffer keys
        kpl_buffer hash_keys
        kpl_buffer records
        kpl_buffer outside
    void kpl_join(const kpl_aggregate *aggregate, uint8_t *out) nogil
    void kpl_free_aggregate(kpl_aggregate *aggregate) nogil
    size_t KPL_ENVELOPE, KPL_MAGIC, KPL_DIGEST

cdef extern from "kernels.h":
    void kpl_prefetch(const void *p) nogil

cdef extern from "Python.h":
    PyObject *PyList_GetItem(object, Py_ssize_t) except NULL
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    Py_ssize_t PyUnicode_GetLength(object) except -1
    Py_ssize_t PY_SSIZE_T_MAX
    bint PyBytes_CheckExact(object)
    bint PyUnicode_CheckExact(object)

cdef size_t COPIED = 256  # bytes: larger data is referred to, not copied


cdef inline uint8_t *longer(kpl_buffer *buffer, size_t n) except NULL:
    """Make the buffer n bytes longer, and return where they begin."""
    cdef uint8_t *at = kpl_extend(buffer, n)
    if at == NULL:
        raise MemoryError
    return at


cdef class Packing:
    """An aggregated record to which records are being added. See kplpy.wire.encode.Packing."""

    # Maps a key, and an explicit hash key, to its index in the aggregate's table.
    cdef dict _keys
    cdef dict _hash_keys
    cdef list _outside  # keeps the data alive that `_aggregate.outside` points to
    cdef kpl_aggregate _aggregate
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t data_size
    cdef readonly Py_ssize_t other_size
    cdef readonly Py_ssize_t smallest
    cdef readonly Py_ssize_t largest

    def __cinit__(self):
        self._keys = {}
        self._outside = []
        self.size = KPL_ENVELOPE
        self.smallest = PY_SSIZE_T_MAX

    def __dealloc__(self):
        kpl_free_aggregate(&self._aggregate)

    def add(self, records, Py_ssize_t max_size) -> int:
        """Add records in order while size stays within `max_size`; return how many were added."""
        cdef Py_ssize_t added = 0
        cdef PendingRecord plain
        cdef bint fits
        for record in records:
            if PyList_CheckExact(records):
                self._prefetch(<list>records, added)
            if isinstance(record, PendingRecord) and (<PendingRecord>record)._is_plain:
                plain = <PendingRecord>record
                fits = self._add(plain.partition_key, plain.data, plain.explicit_hash_key, None, max_size)
            else:
                fits = self._add(record.partition_key, record.data, record.explicit_hash_key, record.tags, max_size)
            if not fits:
                break
            added += 1
        return added

    cdef int _prefetch(self, list records, Py_ssize_t i) except -1:
        """Load a record that is added soon, and the data and key of one that comes sooner."""
        cdef Py_ssize_t count = PyList_Size(records)
        cdef object soon
        if i + 8 < count:
            kpl_prefetch(<void *>PyList_GetItem(records, i + 8))
        if i + 4 < count:
            soon = <object>PyList_GetItem(records, i + 4)
            if isinstance(soon, PendingRecord):
                kpl_prefetch(<void *>(<PendingRecord>soon).data)
                kpl_prefetch(<void *>(<PendingRecord>soon).partition_key)
        return 0

    cdef bint _add(self, key, data, hash_key, tags, Py_ssize_t max_size) except -1:
        """Add one record if it fits. Nothing changes if it does not, or if a key is no text.

        After a MemoryError the packing cannot be used any more.
        """
        cdef size_t n, body, head, whole, entry = 0, hash_entry = 0, tags_size = 0
        cdef uint64_t index, hash_index = 0
        cdef const char *text = NULL
        cdef const char *hash_text = NULL
        cdef Py_ssize_t text_size = 0, hash_text_size = 0
        cdef uint8_t *p
        cdef bint outside
        if not PyBytes_CheckExact(data):
            data = bytes(memoryview(data))
        n = PyBytes_Size(data)
        known = self._keys.get(key)
        if known is None:
            index = len(self._keys)
            text = utf8_of(key, &text_size)
            entry = 1 + kpl_varint_size(text_size) + text_size
        else:
            index = known
        head = 1 + kpl_varint_size(index)
        hash_known = None
        if hash_key is not None:
            if self._hash_keys is None:
                self._hash_keys = {}
            hash_known = self._hash_keys.get(hash_key)
            if hash_known is None:
                hash_index = len(self._hash_keys)
                hash_text = utf8_of(hash_key, &hash_text_size)
                hash_entry = 1 + kpl_varint_size(hash_text_size) + hash_text_size
            else:
                hash_index = hash_known
            head += 1 + kpl_varint_size(hash_index)
        if tags:
            tags_size = PyBytes_Size(tags)
        body = head + 1 + kpl_varint_size(n) + n + tags_size
        whole = 1 + kpl_varint_size(body) + body
        if self.size + <Py_ssize_t>(entry + hash_entry + whole) > max_size:
            return False

        if entry:
            p = longer(&self._aggregate.keys, entry)
            p[0] = 0x0A
            memcpy(kpl_varint(p + 1, text_size), text, text_size)
            self._keys[key] = index
        if hash_entry:
            p = longer(&self._aggregate.hash_keys, hash_entry)
            p[0] = 0x12
            memcpy(kpl_varint(p + 1, hash_text_size), hash_text, hash_text_size)
            self._hash_keys[hash_key] = hash_index
        outside = n > COPIED
        p = longer(&self._aggregate.records, whole - n if outside else whole)
        p[0] = 0x1A
        p = kpl_varint(p + 1, body)
        p[0] = 0x08
        p = kpl_varint(p + 1, index)
        if hash_key is not None:
            p[0] = 0x10
            p = kpl_varint(p + 1, hash_index)
        p[0] = 0x1A
        p = kpl_varint(p + 1, n)
        if outside:
            self._refer_to(data, p - self._aggregate.records.at)
        else:
            memcpy(p, PyBytes_AsString(data), n)
            p += n
        if tags_size:
            memcpy(p, PyBytes_AsString(tags), tags_size)

        self.size += entry + hash_entry + whole
        self.data_size += n
        self.other_size += PyUnicode_GetLength(key) + tags_size
        if <Py_ssize_t>n < self.smallest:
            self.smallest = n
        if <Py_ssize_t>n > self.largest:
            self.largest = n
        return True

    cdef int _refer_to(self, data, size_t place) except -1:
        """Have `data` written at this place of the records when they are joined."""
        cdef kpl_outside *outside = <kpl_outside *>longer(&self._aggregate.outside, sizeof(kpl_outside))
        outside.place = place
        outside.data = <const uint8_t *>PyBytes_AsString(data)
        outside.size = PyBytes_Size(data)
        self._outside.append(data)

    def trim(self):
        """Give back memory that is only needed while records are added. More records may not be added."""
        self._keys = self._hash_keys = None
        kpl_trim(&self._aggregate.keys)
        kpl_trim(&self._aggregate.records)
        kpl_trim(&self._aggregate.outside)

    def data(self) -> bytes:
        """Return the Kinesis record's data. Changes nothing; more records may be added afterwards."""
        cdef bytes made = PyBytes_FromStringAndSize(NULL, self.size)
        cdef uint8_t *out = <uint8_t *>PyBytes_AsString(made)
        cdef size_t size = self.size
        with nogil:
            kpl_join(&self._aggregate, out)
            kpl_md5(out + KPL_MAGIC, size - KPL_ENVELOPE, out + size - KPL_DIGEST)
        return made

    def message(self) -> bytes:
        """Return the protobuf message alone, without the magic and the MD5."""
        return self.data()[KPL_MAGIC : self.size - KPL_DIGEST]

    def parts(self) -> tuple:
        """Return data() in two parts: the body, and the 16-byte MD5 that ends it."""
        made = self.data()
        return made[: self.size - KPL_DIGEST], made[self.size - KPL_DIGEST :]


cdef inline const char *utf8_of(text, Py_ssize_t *size) except NULL:
    """Return the text in UTF-8, which lives as long as the text. Raises UnicodeEncodeError."""
    return PyUnicode_AsUTF8AndSize(text, size)
