# Responses: the compiled twins of kplpy.aws.kinesis.response and kplpy.core.results.landed. Included by native.pyx.

cdef extern from "kernels.h":
    ctypedef struct kpl_text:
        const uint8_t *at
        size_t size
    ctypedef struct kpl_reader:
        const uint8_t *at
        const uint8_t *end
    bint kpl_ends(kpl_reader *reader) nogil
    bint kpl_takes(kpl_reader *reader, uint8_t wanted) nogil
    bint kpl_reads_text(kpl_reader *reader, kpl_text *text) nogil
    bint kpl_reads_number(kpl_reader *reader) nogil
    bint kpl_is_text(const kpl_text *text, const char *wanted, size_t size) nogil

cdef extern from "Python.h":
    object PyUnicode_FromStringAndSize(const char *, Py_ssize_t)


def read_accepted(bytes body):
    """Return the shard ids and sequence numbers of a response. See kplpy.aws.kinesis.response.read_accepted."""
    cdef kpl_reader reader
    cdef kpl_text name
    cdef list shard_ids = []
    cdef list numbers = []
    reader.at = <const uint8_t *>PyBytes_AsString(body)
    reader.end = reader.at + PyBytes_Size(body)
    if not kpl_takes(&reader, c'{'):
        return None
    while True:
        if not kpl_reads_text(&reader, &name) or not kpl_takes(&reader, c':'):
            return None
        if kpl_is_text(&name, "Records", 7):
            if numbers or not reads_entries(&reader, shard_ids, numbers):
                return None
        elif kpl_is_text(&name, "FailedRecordCount", 17):
            if not kpl_reads_number(&reader):
                return None
        elif not kpl_is_text(&name, "EncryptionType", 14) or not kpl_reads_text(&reader, &name):
            return None
        if not kpl_takes(&reader, c','):
            break
    if not kpl_takes(&reader, c'}'):
        return None
    if not kpl_ends(&reader) or not numbers:
        return None
    return shard_ids, numbers


cdef bint reads_entries(kpl_reader *reader, list shard_ids, list numbers) except -1:
    """Read the list of accepted entries. Return False for anything else."""
    cdef kpl_text name, value, number, shard_id, known
    cdef object text = None
    cdef dict texts = {}
    known.at, known.size = NULL, 0
    if not kpl_takes(reader, c'['):
        return False
    while True:
        number.size = shard_id.size = 0
        if not kpl_takes(reader, c'{'):
            return False
        for member in range(2):
            if member and not kpl_takes(reader, c','):
                return False
            if not kpl_reads_text(reader, &name) or not kpl_takes(reader, c':') or not kpl_reads_text(reader, &value):
                return False
            if kpl_is_text(&name, "SequenceNumber", 14):
                number = value
            elif kpl_is_text(&name, "ShardId", 7):
                shard_id = value
            else:
                return False
        if not number.size or not shard_id.size or not kpl_takes(reader, c'}'):
            return False
        if known.at == NULL or not kpl_is_text(&shard_id, <const char *>known.at, known.size):
            known = shard_id
            text = PyUnicode_FromStringAndSize(<const char *>known.at, known.size)
            text = texts.setdefault(text, text)
        shard_ids.append(text)
        numbers.append(PyUnicode_FromStringAndSize(<const char *>number.at, number.size))
        if not kpl_takes(reader, c','):
            return kpl_takes(reader, c']')


cdef class DeliveredState
cdef extern from *:
    """
    #define KPL_OFFSET_FINAL(state) KPL_OFFSET(state, final)
    #define KPL_OFFSET_NUMBER(state) KPL_OFFSET(state, sequence_number)
    #define KPL_OFFSET_SHARD_ID(state) KPL_OFFSET(state, shard_id)
    """
    Py_ssize_t KPL_OFFSET_FINAL(DeliveredState)
    Py_ssize_t KPL_OFFSET_NUMBER(DeliveredState)
    Py_ssize_t KPL_OFFSET_SHARD_ID(DeliveredState)


cdef class DeliveredState:
    """The fields of a delivered outcome. See kplpy.core.outcome.DeliveredState."""

    cdef public object shard_id
    cdef public object sequence_number
    cdef public object final


cdef int add_slots_of_outcomes() except -1:
    cdef DeliveredState state = DeliveredState.__new__(DeliveredState)
    kpl_add_slot(DeliveredState, "shard_id", KPL_OFFSET_SHARD_ID(state))
    kpl_add_slot(DeliveredState, "sequence_number", KPL_OFFSET_NUMBER(state))
    kpl_add_slot(DeliveredState, "final", KPL_OFFSET_FINAL(state))
    return 0


add_slots_of_outcomes()

cdef object ACCEPTED = None


def register_accepted(accepted):
    """Set the class of accepted entries."""
    global ACCEPTED
    ACCEPTED = accepted


def group_predicted(batches, entries, range_of, final):
    """Return the batches by queue, if each landed as predicted. See kplpy.core.results.landed.group_predicted."""
    cdef dict groups = {}
    cdef list shard_ids
    cdef list numbers
    cdef list group_batches = None
    cdef list group_outcomes = None
    cdef DeliveredState outcome
    cdef object queue = None
    cdef object shard_id = None
    cdef object shard = None
    if type(entries) is ACCEPTED:
        shard_ids, numbers = entries.shard_ids, entries.sequence_numbers
    else:
        shard_ids = [entry.get("ShardId", "") for entry in entries]
        numbers = [entry.get("SequenceNumber") for entry in entries]
    for batch, found_id, number in zip(batches, shard_ids, numbers, strict=True):
        if not number:
            return None
        found = (<BatchState?>batch).queue
        if found is not queue:
            queue, shard_id = found, None
            shard = queue.shard
            if shard is None:
                return None
            group = groups.get(queue)
            if group is None:
                group = groups[queue] = (queue, [], [])
            _, group_batches, group_outcomes = <tuple>group
        if found_id is not shard_id:
            if range_of(found_id) is not shard:
                return None
            shard_id = found_id
        group_batches.append(batch)
        outcome = <DeliveredState>kpl_new(DELIVERED, NOTHING)
        outcome.shard_id, outcome.sequence_number, outcome.final = found_id, number, final
        PyObject_GC_UnTrack(<void *>outcome)  # it refers to strings and an attempt, which never refer to it
        group_outcomes.append(outcome)
    return list(groups.values())


def add_up(list batches):
    """Return sums over batches. See kplpy.core.results.landed.add_up."""
    cdef list items = []
    cdef list records
    cdef Py_ssize_t payload = 0, wire_size = 0
    cdef bint all_alone = True
    for batch in batches:
        records = <list?>(<BatchState?>batch).items
        items.append(records[0])
        all_alone = all_alone and len(records) == 1
        payload += (<BatchState>batch).payload
        wire_size += (<BatchState>batch).wire_size
    return items, payload, wire_size, all_alone
