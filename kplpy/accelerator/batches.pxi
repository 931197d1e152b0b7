# Batches: the compiled twins of kplpy.core.batching.shard_queue. Included by native.pyx.

cdef class BatchState:
    """The fields of a batch. See kplpy.core.batching.shard_queue.BatchState."""

    cdef public object queue
    cdef public object items
    cdef public object _arrivals
    cdef public object _packing
    cdef public object _sealed
    cdef public double arrival
    cdef public Py_ssize_t payload
    cdef public Py_ssize_t data_size
    cdef public Py_ssize_t wire_size
    cdef public bint tried
    cdef public bint closed
    cdef public bint aggregated


cdef object BATCH = None


def register_batch(batch):
    """Set the class of a stream's batches."""
    global BATCH
    BATCH = batch


cdef int prefetch_batches(list batches, Py_ssize_t i) except -1:
    """Load what is read soon: a batch, the list of one that comes sooner, its record, and the record's data and key."""
    cdef Py_ssize_t count = PyList_Size(batches)
    cdef object soon
    if i + 12 < count:
        kpl_prefetch(<void *>PyList_GetItem(batches, i + 12))
    if i + 8 < count:
        soon = <object>PyList_GetItem(batches, i + 8)
        if isinstance(soon, BatchState):
            kpl_prefetch(<void *>(<BatchState>soon).items)
    if i + 4 < count:
        soon = <object>PyList_GetItem(batches, i + 4)
        if isinstance(soon, BatchState) and PyList_CheckExact((<BatchState>soon).items):
            if PyList_Size((<BatchState>soon).items):
                kpl_prefetch(<void *>PyList_GetItem((<BatchState>soon).items, 0))
    return 0


def batches_alone(batch_type, queue, list items):
    """Return a closed batch for each record, and sums. See kplpy.core.batching.shard_queue.batches_alone."""
    cdef list batches = []
    cdef Py_ssize_t wire_size = 0, payload = 0, key_size = 0
    cdef FutureState record
    cdef BatchState batch
    cdef BatchState oldest = None
    cdef bint is_usual = batch_type is BATCH and not queue.wraps_singles
    for item in items:
        if is_usual and type(item) is FUTURE and PyBytes_CheckExact((<FutureState>item).data):
            record = <FutureState>item
            utf8_of(record.partition_key, &key_size)
            batch = <BatchState>kpl_new(batch_type, NOTHING)
            batch.queue = queue
            batch.items = [record]
            batch.arrival = record.arrival
            batch.tried = bool(record.tries)
            batch.closed = True
            batch.data_size = PyBytes_Size(record.data)
            batch.wire_size = batch.data_size + key_size
            batch.payload = batch.data_size + PyUnicode_GetLength(record.partition_key)
        else:
            batch = <BatchState?>batch_type.alone(queue, item)
        batches.append(batch)
        wire_size += batch.wire_size
        payload += batch.payload
        if oldest is None or batch.arrival < oldest.arrival:
            oldest = batch
    return batches, wire_size, payload, oldest


def take_run(batches, list taken, Py_ssize_t count, double size, double largest, double data_size):
    """Move batches from the front of a queue to `taken`. See kplpy.core.batching.shard_queue.take_run."""
    cdef Py_ssize_t moved = 0, moved_size = 0, moved_data = 0
    cdef BatchState batch
    for each in batches:
        if moved >= count:
            break
        batch = <BatchState?>each
        if (
            moved_size + batch.wire_size > size
            or batch.wire_size > largest
            or moved_data + batch.data_size > data_size
        ):
            break
        taken.append(batch)
        moved += 1
        moved_size += batch.wire_size
        moved_data += batch.data_size
    popleft = batches.popleft
    for _ in range(moved):
        popleft()
    return moved, moved_size, moved_data
