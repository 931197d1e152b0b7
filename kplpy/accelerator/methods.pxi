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
    cdef bytes text = f"{name}{signature}\n--\n\n{doc}".encode()
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
cdef object DELIVERED = None


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


def register_future(type future, delivered, str result_signature, str done_signature):
    """Give RecordFuture its result and done in C. Its own are called for all but delivered records."""
    global RESULT_TWIN, DONE, DELIVERED
    RESULT_TWIN, DONE, DELIVERED = future.result, future.done, delivered
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
