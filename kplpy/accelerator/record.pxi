# The record and its future, and what a put does with them. Included by native.pyx.


cdef extern from "kernels.h":
    bint KPL_HAS_CLOCK
    double kpl_now() nogil
    uint64_t kpl_load_be64(const uint8_t *p) nogil

cdef class PendingRecord
cdef class FutureState(PendingRecord)
cdef class Await
cdef class ResultSource

cdef extern from *:
    """
    /* Return a new object of the type, as type.__new__(type) does, without looking __new__ up. */
    static PyObject *kpl_new(PyObject *type, PyObject *arguments) {
        newfunc make = (newfunc)PyType_GetSlot((PyTypeObject *)type, Py_tp_new);
        return make((PyTypeObject *)type, arguments, NULL);
    }

    #include <structmember.h>
    /* Have the type's attribute read and written at this offset, as one of __slots__ is. */
    static int kpl_add_slot(PyObject *type, const char *name, Py_ssize_t offset) {
        PyMemberDef *member = (PyMemberDef *)PyMem_Calloc(1, sizeof *member); /* lives as long as the type: for ever */
        PyObject *made;
        int done;
        if (!member) {
            PyErr_NoMemory();
            return -1;
        }
        member->name = name, member->type = T_OBJECT_EX, member->offset = offset;
        made = PyDescr_NewMember((PyTypeObject *)type, member);
        if (!made)
            return -1;
        done = PyObject_SetAttrString(type, name, made);
        Py_DECREF(made);
        return done;
    }
    #define KPL_OFFSET(object, field) ((Py_ssize_t)((char *)&(object)->field - (char *)(object)))
    #define KPL_OFFSET_DATA(record) KPL_OFFSET(record, data)
    #define KPL_OFFSET_KEY(record) KPL_OFFSET(record, partition_key)
    #define KPL_OFFSET_HASH_KEY(record) KPL_OFFSET(record, explicit_hash_key)
    #define KPL_OFFSET_TRIES(record) KPL_OFFSET(record, tries)
    #define KPL_OFFSET_ORIGIN(state) KPL_OFFSET(state, _origin)
    #define KPL_OFFSET_OUTCOME(state) KPL_OFFSET(state, _outcome)
    #define KPL_OFFSET_WAITS(state) KPL_OFFSET(state, _waits)
    #define KPL_OFFSET_FUTURE(source) KPL_OFFSET(source, _future)
    """
    Py_ssize_t KPL_OFFSET_DATA(PendingRecord)
    Py_ssize_t KPL_OFFSET_KEY(PendingRecord)
    Py_ssize_t KPL_OFFSET_HASH_KEY(PendingRecord)
    Py_ssize_t KPL_OFFSET_TRIES(PendingRecord)
    Py_ssize_t KPL_OFFSET_ORIGIN(FutureState)
    Py_ssize_t KPL_OFFSET_OUTCOME(FutureState)
    Py_ssize_t KPL_OFFSET_WAITS(FutureState)
    Py_ssize_t KPL_OFFSET_FUTURE(ResultSource)
    object kpl_new(object type, object arguments)
    int kpl_add_slot(object type, const char *name, Py_ssize_t offset) except -1

cdef extern from "Python.h":
    const char *utf8_or_null "PyUnicode_AsUTF8AndSize"(object, Py_ssize_t *)
    void PyErr_Clear()
    void PyObject_GC_Track(void *)
    void PyObject_GC_UnTrack(void *)
    int PyObject_GenericSetAttr(object, object, PyObject *) except -1
    bint PyTuple_CheckExact(object)
    bint PyList_CheckExact(object)
    Py_ssize_t PyList_Size(object) except -1
    int PyList_Append(object, object) except -1
    int PyList_SetSlice(object, Py_ssize_t, Py_ssize_t, PyObject *) except -1

cdef enum:  # of a hash key, and a payload
    UNSET = 0
    KNOWN = 1
    KEYLESS = 2
    LATER = 3  # the hash key is the MD5 of the partition key, which is computed when it is first used
    UNKNOWN = -1

cdef tuple NOTHING = ()
cdef bytes NO_DATA = b""
cdef object FUTURE = None  # RecordFuture, of which puts make objects
cdef object KEYLESS_FUTURE = None


cdef class Clock:
    """What puts read the time from.

    read: called instead of the system's clock, if it is set. Tests set it.
    """

    cdef public object read


cdef Clock CLOCK = Clock()
clock = CLOCK

if not KPL_HAS_CLOCK:
    from time import monotonic
    CLOCK.read = monotonic


cdef object DELIVERED = None


def register_delivered(delivered):
    """Set the class of delivered outcomes."""
    global DELIVERED
    DELIVERED = delivered


def register(future, keyless_future):
    """Set the classes of plain futures, which are all in this module's struct. Puts make those of the first one."""
    global FUTURE, KEYLESS_FUTURE
    FUTURE, KEYLESS_FUTURE = future, keyless_future


cdef inline double now() except? -1.0:
    return kpl_now() if CLOCK.read is None else CLOCK.read()


cdef class PendingRecord:
    """One accepted user record. See kplpy.core.record.PendingRecord."""

    keyless = False
    tags = b""

    cdef public object data
    cdef public object partition_key
    cdef public object explicit_hash_key
    cdef public object tries
    cdef uint64_t _high  # the hash key
    cdef uint64_t _low
    cdef public double arrival
    cdef public int64_t number
    cdef int32_t _payload  # len(data) + len(partition_key) of a plain record; UNKNOWN
    cdef public bint maybe_written
    cdef char _hash_key_state
    # The class is one that was registered, so that this struct has all of the record. Objects of other classes may have
    # their data elsewhere, and tags.
    cdef char _is_plain
    cdef char _is_untracked  # the garbage collector does not know the record

    @property
    def headers(self):
        """The record's headers. None: it has none."""
        if not self.tags:
            return None
        from kplpy.wire.tags import decode_tags

        return decode_tags(self.tags)

    @property
    def hash_key(self):
        """128 bits, or NO_HASH_KEY."""
        if self._hash_key_state == KEYLESS:
            return -1
        if self._hash_key_state == UNSET:
            raise AttributeError("hash_key")
        if self._hash_key_state == LATER:
            compute_hash_key(self)
        return (<object>self._high << 64) | self._low

    @hash_key.setter
    def hash_key(self, value):
        set_hash_key(self, value)

    def __setattr__(self, name, value):
        # Python code may make a reference circle, or change the payload or the key. Compiled code sets fields directly.
        self._payload = UNKNOWN
        if self._hash_key_state == LATER:
            compute_hash_key(self)
        if self._is_untracked:
            self._is_untracked = False
            PyObject_GC_Track(<void *>self)
        PyObject_GenericSetAttr(self, name, <PyObject *>value)

    def __delattr__(self, name):
        # Compiled code reads the fields as they are, also if there is none any more.
        if hasattr(getattr(type(self), name, None), "__set__"):
            raise AttributeError(f"{name} of a record cannot be deleted")
        PyObject_GenericSetAttr(self, name, NULL)


cdef int set_hash_key(PendingRecord record, value) except -1:
    """Set a hash key of 128 bits, or NO_HASH_KEY."""
    if value < 0:
        record._hash_key_state = KEYLESS
        return 0
    record._high, record._low = value >> 64, value & 0xFFFFFFFFFFFFFFFF
    record._hash_key_state = KNOWN
    return 0


cdef int compute_hash_key(PendingRecord record) except -1:
    """Compute a hash key that was left for later."""
    cdef Py_ssize_t size = 0
    cdef uint8_t digest[16]
    cdef const char *text = utf8_of(record.partition_key, &size)
    kpl_md5(<const uint8_t *>text, size, digest)
    set_digest(record, digest)
    return 0


cdef inline void set_digest(PendingRecord record, const uint8_t *digest):
    """Set the hash key to an MD5, whose first byte is the most significant."""
    record._high = kpl_load_be64(digest)
    record._low = kpl_load_be64(digest + 8)
    record._hash_key_state = KNOWN


def compute_hash_keys(list records):
    """Compute the hash keys that puts left for later. See kplpy.core.record.compute_hash_keys."""
    cdef Py_ssize_t count = len(records), i, size = 0, waiting = 0
    cdef kpl_job jobs[128]
    cdef void *owners[128]
    cdef uint8_t digests[2048]
    cdef PendingRecord record
    for i in range(count):
        found = records[i]
        if isinstance(found, PendingRecord):
            record = <PendingRecord>found
            if record._hash_key_state == LATER:
                jobs[waiting].message = <const uint8_t *>utf8_of(record.partition_key, &size)
                jobs[waiting].size = size
                jobs[waiting].digest = digests + 16 * waiting
                owners[waiting] = <void *>record
                waiting += 1
        if waiting == 128 or (i == count - 1 and waiting):
            kpl_md5_all(jobs, waiting)
            while waiting:
                waiting -= 1
                set_digest(<PendingRecord>owners[waiting], digests + 16 * waiting)


cdef class FutureState(PendingRecord):
    """A record and the state of its future. See kplpy.futures.record_future.FutureState."""

    cdef public object _origin
    cdef public object _outcome
    cdef public object _waits

    def __init__(self, origin, data, partition_key, explicit_hash_key, hash_key, double arrival):
        self._is_plain = type(self) is FUTURE or type(self) is KEYLESS_FUTURE
        self._origin = origin
        if self._is_plain:
            self.data = data
        else:
            setattr(self, "data", data)  # which may be a property
        self.partition_key = partition_key
        self.explicit_hash_key = explicit_hash_key
        set_hash_key(self, hash_key)
        self.arrival = arrival
        self.tries = NOTHING
        self._payload = UNKNOWN


cdef int add_slots() except -1:
    """Give the objects' attributes the descriptors of __slots__.

    Python 3.11 and later read those in 5 ns. Cython's own descriptors take 30 ns.
    """
    cdef FutureState state = FutureState.__new__(FutureState)
    cdef PendingRecord record = state
    kpl_add_slot(PendingRecord, "data", KPL_OFFSET_DATA(record))
    kpl_add_slot(PendingRecord, "partition_key", KPL_OFFSET_KEY(record))
    kpl_add_slot(PendingRecord, "explicit_hash_key", KPL_OFFSET_HASH_KEY(record))
    kpl_add_slot(PendingRecord, "tries", KPL_OFFSET_TRIES(record))
    kpl_add_slot(FutureState, "_origin", KPL_OFFSET_ORIGIN(state))
    kpl_add_slot(FutureState, "_outcome", KPL_OFFSET_OUTCOME(state))
    kpl_add_slot(FutureState, "_waits", KPL_OFFSET_WAITS(state))
    return 0


add_slots()


cdef class ResultSource:
    """Holds the future that a result reads its fields from. See kplpy.records.ResultSource."""

    cdef public object _future


cdef object RESULT = None


def register_result(result):
    """Set the class of results."""
    global RESULT
    RESULT = result
    cdef ResultSource source = ResultSource.__new__(ResultSource)
    kpl_add_slot(ResultSource, "_future", KPL_OFFSET_FUTURE(source))


cdef object result_of(object future):
    """Return the result of a delivered record, which reads its fields from the future."""
    cdef ResultSource made = <ResultSource>kpl_new(RESULT, NOTHING)
    made._future = future
    return made


cdef FutureState new_future(future_type, origin, data, key, char hash_key_state, double arrival):
    """Return the future of a plain record, of a registered class. The garbage collector does not see it.

    What it refers to refers to no futures, until Python code sets an attribute: then the collector sees it. Tracking
    each would make the collector walk through all outstanding records again and again.
    """
    cdef FutureState made = <FutureState>kpl_new(future_type, NOTHING)
    made._origin = origin
    made.data = data
    made.partition_key = key
    made.tries = NOTHING
    made._hash_key_state = hash_key_state
    made.arrival = arrival
    made._payload = <int32_t>(PyBytes_Size(data) + PyUnicode_GetLength(key))
    made._is_plain = True
    made._is_untracked = True
    PyObject_GC_UnTrack(<void *>made)
    return made


cdef inline bint is_valid_key(key) except -1:
    """Return True for a valid partition key. Python code explains what is wrong with others."""
    cdef Py_ssize_t size = 0
    if not 1 <= PyUnicode_GetLength(key) <= 256:
        return False
    if utf8_or_null(key, &size) == NULL:  # its UTF-8 stays in the key, for the hash key and the aggregate
        PyErr_Clear()
        return False
    return True


cdef class PutTarget:
    """What a put reads and writes of a stream, without a lock. See kplpy.runtime.put_target.PutTarget."""

    cdef public object origin
    cdef public object staging
    cdef public object on_due
    cdef public Py_ssize_t staged_bytes
    cdef public Py_ssize_t credit
    cdef public Py_ssize_t credit_records
    cdef public Py_ssize_t plain_size
    cdef public Py_ssize_t batch_records
    cdef public Py_ssize_t batch_bytes
    cdef public Py_ssize_t overhead
    cdef public double linger
    cdef public double wake_at
    cdef public bint wake_requested


cpdef object put_plain(PutTarget target, data, key):
    """Stage a plain record on credit and return its future. None: the caller must go the long way."""
    cdef Py_ssize_t size, count
    if not PyBytes_CheckExact(data) or not PyUnicode_CheckExact(key) or not PyList_CheckExact(target.staging):
        return None
    size = PyBytes_Size(data)
    if size > target.plain_size:
        return None
    size += PyUnicode_GetLength(key) + target.overhead
    count = PyList_Size(target.staging)
    if target.staged_bytes + size > target.credit or count > target.credit_records:
        return None
    if not is_valid_key(key):
        return None
    cdef double arrival = now()
    cdef FutureState record = new_future(FUTURE, target.origin, data, key, LATER, arrival)
    target.staged_bytes += size
    PyList_Append(target.staging, record)
    if not target.wake_requested and (
        arrival + target.linger < target.wake_at
        or count >= target.batch_records
        or target.staged_bytes >= target.batch_bytes
    ):
        target.on_due(target)
    return record


def plain_records(origin, list items, Py_ssize_t plain_size, hash_keys):
    """Return the futures of put_records' items and their bytes, or None. See kplpy.validation.plain_records."""
    cdef Py_ssize_t size = 0
    cdef list records = []
    cdef double arrival = now()
    cdef FutureState record
    for item in items:
        if not PyTuple_CheckExact(item) or len(<tuple>item) != 2:
            return None
        data, key = (<tuple>item)[0], (<tuple>item)[1]
        if not PyBytes_CheckExact(data) or not PyUnicode_CheckExact(key) or PyBytes_Size(data) > plain_size:
            return None
        if not is_valid_key(key):
            return None
        record = new_future(FUTURE, origin, data, key, LATER, arrival)
        size += record._payload
        records.append(record)
    return records, size


cpdef untrack(list records):
    """Hide a list from the garbage collector. See kplpy.core.record.untrack."""
    PyObject_GC_UnTrack(<void *>records)


def new_staging() -> list:
    """Return an empty staging queue."""
    cdef list made = []
    untrack(made)
    return made


def move_staged(list staging, list records):
    """Move all staged records to the end of `records`, in one step."""
    cdef Py_ssize_t count = PyList_Size(staging)
    untrack(records)
    # Neither of these allocates an object, so no garbage collection, and no put of a __del__, comes between them.
    PyList_SetSlice(records, PyList_Size(records), PyList_Size(records), <PyObject *>staging)
    PyList_SetSlice(staging, 0, count, NULL)


# --- many records ---


def payload_size(items) -> int:
    """Return what the buffer is charged for the records. See kplpy.core.record.payload_size."""
    cdef Py_ssize_t size = 0
    for item in items:
        if isinstance(item, PendingRecord) and (<PendingRecord>item)._payload != UNKNOWN:
            size += (<PendingRecord>item)._payload
        else:
            size += len(item.data) + len(item.partition_key) + len(item.tags)
    return size


def first_pending(list records, Py_ssize_t start) -> int:
    """Return the index of the first record from `start` on that has no outcome, or the number of records."""
    cdef Py_ssize_t count = len(records), i
    for i in range(start, count):
        record = records[i]
        if isinstance(record, FutureState):
            if (<FutureState>record)._outcome is None:
                return i
        elif record._outcome is None:
            return i
    return max(start, count)


cdef inline void set_delivered(FutureState state, outcome):
    """Give a plain future its outcome. A future that is kept must not keep the delivered payload."""
    state._outcome = outcome
    state.data = NO_DATA
    state._payload = UNKNOWN


def deliver_plain(futures, outcome, list awaited) -> list:
    """Give plain futures that nobody, or one task, waits for this outcome. See kplpy.futures.resolve.deliver_plain."""
    cdef list others = []
    cdef FutureState state
    for future in futures:
        if isinstance(future, FutureState):
            state = <FutureState>future
            if state._is_plain and state._outcome is None and (
                state._waits is None or isinstance(state._waits, Await)
            ):
                if state._waits is not None:
                    awaited.append(state)
                set_delivered(state, outcome)
                continue
        others.append(future)
    return others


def take_awaits(futures):
    """Take the awaits out of the futures, by loop. See kplpy.futures.resolve.take_awaits."""
    cdef dict awaits = {}
    cdef list others = []
    cdef list some = None
    cdef object last = None
    cdef Await waiting
    for future in futures:
        if isinstance(future, FutureState) and isinstance((<FutureState>future)._waits, Await):
            waiting = <Await>(<FutureState>future)._waits
            if waiting.arrivals is not last or last is None:
                last = waiting.arrivals
                some = awaits.setdefault(last, [])
            some.append(waiting)
            (<FutureState>future)._waits = None
        else:
            others.append(future)
    return awaits, others


def deliver_each(list futures, list outcomes) -> list:
    """Give each plain future that nobody waits for its outcome. Return the others with theirs. Under the futures' lock."""
    cdef list others = []
    cdef FutureState state
    for future, outcome in zip(futures, outcomes, strict=True):
        if isinstance(future, FutureState):
            state = <FutureState>future
            if state._is_plain and state._outcome is None and state._waits is None:
                set_delivered(state, outcome)
                continue
        others.append((future, outcome))
    return others
