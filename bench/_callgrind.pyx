# cython: language_level=3
# Tells callgrind, when it is what runs us, from where to where it is to count. Nothing happens anywhere else.

cdef extern from * nogil:
    """
    #if defined(__has_include)
    #if __has_include(<valgrind/callgrind.h>)
    #include <valgrind/callgrind.h>
    #define COUNTED_BY_CALLGRIND 1
    #endif
    #endif
    #ifdef COUNTED_BY_CALLGRIND
    static void counting_begins(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
    static void counting_ends(const char *name) { CALLGRIND_STOP_INSTRUMENTATION; CALLGRIND_DUMP_STATS_AT(name); }
    #else
    #define COUNTED_BY_CALLGRIND 0
    static void counting_begins(void) {}
    static void counting_ends(const char *name) { (void)name; }
    #endif
    """
    int COUNTED_BY_CALLGRIND
    void counting_begins()
    void counting_ends(const char *name)

# False when valgrind's header was not there at compile time.
is_built = bool(COUNTED_BY_CALLGRIND)


def begin():
    counting_begins()


def end(bytes name):
    """Writes what was counted since begin(), under this name."""
    counting_ends(name)
