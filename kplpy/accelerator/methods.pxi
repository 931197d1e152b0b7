# Methods that Python classes get as C functions: put_record of Producer, result and done of RecordFuture.
# Included by native.pyx.

cdef extern from *:
    """
    typedef PyObject *(*kpl_method)(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);

    /* Give the class a method in C. Cython's own take a tuple for each call, in the stable ABI of 3.10. */
    static int kpl_add_method(PyObject *type, const char *name, kpl_method function, const char *doc) {
        PyMethodDef *definition = (PyMethodDef *)PyMem_Calloc(1, sizeof *definition); /* lives for ever, as the type */
        PyObject *made;
        int done;
        if (!definition) {
            PyErr_NoMemory();
            return -1;
        }
        definition->ml_name = name, definition->ml_doc = doc;
        definition->ml_meth = (PyCFunction)(void (*)(void))function;
        definition->ml_flags = METH_FASTCALL | METH_KEYWORDS;
        made = PyDescr_NewMethod((PyTypeObject *)type, definition);
        if (!made)
            return -1;
        done = PyObject_SetAttrString(type, name, made);
        Py_DECREF(made);
        return done;
    }
    """
    ctypedef object (*kpl_method)(object, PyObject *const *, Py_ssize_t, PyObject *)
    int kpl_add_method(object type, const char *name, kpl_method function, const char *doc) except -1

cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object, object) except? NULL
    bint PyDict_CheckExact(object)
    object PySequence_GetItem(object, Py_ssize_t)

cdef list KEPT = []  # the documentation that methods point to


cdef int add_method(type owner, str name, kpl_method function, str signature, str doc) except -1:
    """Give the class a method in C, with the documentation and the signature of its twin."""
    cdef bytes as_bytes = name.encode()
    cdef bytes text = f"{name}{signature}\n--\n\n{doc or ''}".encode()  # None with python -OO
    KEPT.extend((as_bytes, text))
    return kpl_add_method(owner, PyBytes_AsString(as_bytes), function, PyBytes_AsString(text))


cdef object call_twin(object twin, object self, PyObject *const *arguments, Py_ssize_t count, PyObject *names):
    """Call the twin in Python with the arguments of a method in C."""
    cdef list given = [self]
    cdef dict named = {}
    cdef Py_ssize_t i
    for i in range(count):
        given.append(<object>arguments[i])
    if names != NULL:
        for name in <tuple>names:
            named[name] = <object>arguments[count]
            count += 1
    return twin(*given, **named)


# --- put_record ---


cdef class PutEntry:
    """What put_record reads of a producer. See kplpy.runtime.put_target.PutEntry."""

    cdef public object _closed
    cdef public object _puts_in_full
    cdef public object _streams
    cdef public object _usable_page


cdef object PUT_RECORD = None  # the twins
cdef object RESULT_TWIN = None
cdef object DONE = None


def register_producer(type producer, str signature):
    """Give the Producer its put_record in C. Its own is called for all but plain records."""
    global PUT_RECORD
    PUT_RECORD = producer.put_record
    add_method(producer, "put_record", put_record, signature, PUT_RECORD.__doc__)


cdef object put_record(object self, PyObject *const *arguments, Py_ssize_t count, PyObject *names):
    """Stage a plain record as Producer.put_record does, or call that."""
    cdef PutEntry entry = <PutEntry>self
    cdef PyObject *target
    cdef object made
    if count == 3 and names == NULL and entry._puts_in_full is False and PyDict_CheckExact(entry._streams):
        if PyUnicode_CheckExact(<object>arguments[0]) and PySequence_GetItem(entry._usable_page, 0):
            target = PyDict_GetItemWithError(entry._streams, <object>arguments[0])
            if target != NULL:
                made = put_plain(<PutTarget?><object>target, <object>arguments[1], <object>arguments[2])
                if made is not None:
                    if entry._closed is not False:
                        self._refuse_late(<object>target, made)
                    return made
    return call_twin(PUT_RECORD, self, arguments, count, names)


# --- result, done ---


def register_future(type future, str result_signature, str done_signature):
    """Give RecordFuture its result and done in C. Its own are called for all but delivered records."""
    global RESULT_TWIN, DONE
    RESULT_TWIN, DONE = future.result, future.done
    add_method(future, "result", result, result_signature, RESULT_TWIN.__doc__)
    add_method(future, "done", done, done_signature, DONE.__doc__)


cdef object result(object self, PyObject *const *arguments, Py_ssize_t count, PyObject *names):
    """Return the result of a delivered record, which reads its fields from the future."""
    if count == 0 and names == NULL and type((<FutureState>self)._outcome) is DELIVERED:
        return result_of(self)
    return call_twin(RESULT_TWIN, self, arguments, count, names)


cdef object done(object self, PyObject *const *arguments, Py_ssize_t count, PyObject *names):
    """Return True if there is an outcome."""
    if count == 0 and names == NULL and (<FutureState>self)._outcome is not None:
        return True
    return call_twin(DONE, self, arguments, count, names)


# --- await ---


cdef extern from "Python.h":
    void PyErr_SetObject(object, object)


cdef enum:  # of an Await
    WAITS = 0
    WOKEN = 1
    CANCELLED = 2


cdef object BEGIN_AWAIT = None
cdef object END_AWAIT = None
cdef object ASYNCIO = None


def register_await(begin_await, end_await, asyncio):
    """Set what an Await calls."""
    global BEGIN_AWAIT, END_AWAIT, ASYNCIO
    BEGIN_AWAIT, END_AWAIT, ASYNCIO = begin_await, end_await, asyncio


cdef object LOCK = None
cdef object ORIGIN = None


def register_lock(lock, origin):
    """Set the futures' lock, and the class of the Origins that do not note who waits."""
    global LOCK, ORIGIN
    LOCK, ORIGIN = lock, origin


cdef class Await:
    """One await of a RecordFuture. See kplpy.futures.asyncio_bridge.Await."""

    condition = None
    waiters = ()

    cdef public object arrivals
    cdef object _future
    cdef object _callback
    cdef object _context
    cdef object _text
    cdef public bint _asyncio_future_blocking
    cdef char _state

    def __init__(self, future):
        self._future = future

    @property
    def callbacks(self):
        """The callbacks of the future: this await alone."""
        return [self]

    def __iter__(self):
        return self

    def __next__(self):
        future = self._future
        if self.arrivals is None and not is_done(future):
            if not begin_plain_await(self):
                self.arrivals = BEGIN_AWAIT(future, self)
            if self.arrivals is not None:
                self._asyncio_future_blocking = True
                return self
        if not is_done(future):
            raise RuntimeError("await was not used with a task of asyncio")
        # As `raise StopIteration(value)`, without a traceback.
        if isinstance(future, FutureState) and type((<FutureState>future)._outcome) is DELIVERED:
            PyErr_SetObject(StopIteration, result_of(future))
        else:
            PyErr_SetObject(StopIteration, future.result())
        raise StopIteration

    def __call__(self, future):
        """Wake the task, because the future is done. On any thread."""
        if self.arrivals is not None:
            self.arrivals.add(self)

    def will_be_seen(self, future):
        """Return True if the task waits, and was not cancelled."""
        return self._state == WAITS and self.arrivals is not None and not self.arrivals.closed

    def get_loop(self):
        """Return the task's loop. None before it waits."""
        return None if self.arrivals is None else self.arrivals.loop

    def done(self):
        """Return True if the task was woken or cancelled."""
        return self._state != WAITS

    def cancelled(self):
        """Return True if the task was cancelled while it waited."""
        return self._state == CANCELLED

    def result(self):
        """Raise CancelledError if the task was cancelled. The record's result comes out of the await."""
        if self._state == CANCELLED:
            raise ASYNCIO.CancelledError() if self._text is None else ASYNCIO.CancelledError(self._text)
        if self._state == WAITS:
            raise ASYNCIO.InvalidStateError("the record has no outcome yet")

    def set_result(self, result, /):
        """Run the task, because the future is done. Nothing happens if the task was cancelled."""
        if self._state == WAITS:
            self._state = WOKEN
            callback, context = self._callback, self._context
            self._callback = self._context = None
            if callback is not None:
                callback(self) if context is None else context.run(callback, self)

    def cancel(self, msg=None):
        """Have the task go on with a CancelledError. False: it was woken or cancelled already."""
        if self._state != WAITS:
            return False
        self._state = CANCELLED
        self._text = msg
        callback, context = self._callback, self._context
        self._callback = self._context = None
        try:  # the task first: END_AWAIT takes a lock, where a KeyboardInterrupt may come
            if callback is not None and self.arrivals is not None:
                self.arrivals.loop.call_soon(callback, self, context=context)
        finally:
            END_AWAIT(self._future, self)
        return True


cdef bint begin_plain_await(Await waiting) except -1:
    """Do what begin_await does for a plain future that nobody waits for. False: nothing is done."""
    if not isinstance(waiting._future, FutureState):
        return False
    cdef FutureState state = <FutureState>waiting._future
    cdef bint begun = False
    if not state._is_plain or type(state._origin) is not ORIGIN or not PySequence_GetItem(state._origin._page, 0):
        return False
    loop = ASYNCIO._get_running_loop()
    arrivals = None if loop is None else getattr(loop, "_kplpy_arrivals", None)
    if arrivals is None:
        return False
    LOCK.acquire()
    # No Python code runs until the release.
    if state._outcome is None and state._waits is None:
        waiting.arrivals = arrivals
        state._waits = waiting  # not seen by the garbage collector: run_callbacks and cancel end this circle
        begun = True
    LOCK.release()
    return begun


cdef object add_done_callback(object self, PyObject *const *arguments, Py_ssize_t count, PyObject *names):
    """Call `fn(self)` once the await is done. There may be one such callback, the task's."""
    cdef Await waiting = <Await>self
    cdef object context = None
    if names != NULL and len(<tuple>names) == 1 and (<tuple>names)[0] == "context":
        context = <object>arguments[count]
    elif names != NULL and len(<tuple>names):
        raise TypeError("add_done_callback() takes a function and context")
    if count != 1:
        raise TypeError("add_done_callback() takes one function")
    if waiting._state != WAITS or waiting._callback is not None:
        raise RuntimeError("an await of a RecordFuture belongs to one task")
    waiting._callback, waiting._context = <object>arguments[0], context


add_method(
    Await, "add_done_callback", add_done_callback, "($self, fn, /, *, context=None)", "Call fn(self) once it is done."
)


cdef bint is_done(future) except -1:
    """Return True if the future is done."""
    if isinstance(future, FutureState) and (<FutureState>future)._outcome is not None:
        return True
    return future.done()
