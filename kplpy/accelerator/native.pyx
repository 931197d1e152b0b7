# cython: language_level=3, binding=False, wraparound=False, initializedcheck=False
# cython: freethreading_compatible=False, auto_pickle=False
"""Compiled twins of kplpy's hot code. See kplpy/accelerator/__init__.py and docs/accelerator.md.

Cython writes the reference counts and the error handling. kernels.h has the work on bytes, without Python objects.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy


cdef extern from "kernels.h":
    int kpl_vectors
    int KPL_PLAIN, KPL_AVX2, KPL_AVX512
    void kpl_load()
    int kpl_best_vectors()
    void kpl_md5(const uint8_t *message, size_t size, uint8_t *digest) nogil
    ctypedef struct kpl_job:
        const uint8_t *message
        size_t size
        uint8_t *digest
    void kpl_md5_all(kpl_job *jobs, size_t count) nogil
    size_t kpl_base64_size(size_t n) nogil
    char *kpl_base64(char *out, const uint8_t *p, size_t n) nogil


cdef extern from "Python.h":
    # The functions of the stable ABI that Cython's own declarations do not have, or declare with macros.
    char *PyBytes_AsString(object) except NULL
    Py_ssize_t PyBytes_Size(object) except -1
    object PyBytes_FromStringAndSize(const char *, Py_ssize_t)


INTERFACE = 3
SOURCES = KPL_SOURCES.decode()  # the digest of the files that this module was compiled from
cdef extern from *:
    """
    #ifndef KPL_SOURCES
    #define KPL_SOURCES ""
    #endif
    """
    const char *KPL_SOURCES

kpl_load()

cdef extern from *:
    """
    static int kpl_taken = 0; /* stays when the module is imported again */
    """
    bint kpl_taken


def take() -> bool:
    """Return True at the first call in this process. The module knows the classes of one import of kplpy."""
    global kpl_taken
    was_taken = kpl_taken
    kpl_taken = True
    return not was_taken


# --- which code runs ---

cdef tuple _NAMES = ("plain code", "AVX2", "AVX-512")


def vectors() -> str:
    """Return the name of the vector code that runs."""
    return _NAMES[kpl_vectors]


def use_vectors(int kind) -> bool:
    """Run the plain code (0), AVX2 (1) or AVX-512 (2). For tests. False: this processor cannot."""
    global kpl_vectors
    if not 0 <= kind <= kpl_best_vectors():
        return False
    kpl_vectors = kind
    return True


# --- bytes ---

def md5_all(list messages) -> bytes:
    """Return the MD5 digests of the messages, one after the other."""
    cdef size_t count = len(messages), i
    cdef bytes digests = PyBytes_FromStringAndSize(NULL, 16 * count)
    cdef uint8_t *out = <uint8_t *>PyBytes_AsString(digests)
    cdef kpl_job *jobs = <kpl_job *>malloc((count or 1) * sizeof(kpl_job))
    if jobs == NULL:
        raise MemoryError
    try:
        for i in range(count):
            jobs[i].message = <const uint8_t *>PyBytes_AsString(messages[i])
            jobs[i].size = PyBytes_Size(messages[i])
            jobs[i].digest = out + 16 * i
        with nogil:
            kpl_md5_all(jobs, count)
    finally:
        free(jobs)
    return digests


def base64(bytes data) -> bytes:
    """Return the data in base64."""
    cdef size_t n = len(data)
    cdef bytes letters = PyBytes_FromStringAndSize(NULL, kpl_base64_size(n))
    kpl_base64(PyBytes_AsString(letters), <const uint8_t *>PyBytes_AsString(data), n)
    return letters


include "record.pxi"
include "methods.pxi"
include "packing.pxi"
include "arrow.pxi"
include "routing.pxi"
include "batches.pxi"
include "body.pxi"
include "response.pxi"
