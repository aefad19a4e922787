# See _failpoint.pxd for what this module is and is not.

import os
import signal

from flowmq._frame cimport FLOWMQ_CONTRACT

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

FAILPOINTS = (
    "batch-begun", "batch-written", "batch-handed-over", "segment-made", "segment-begun", "segment-superseded",
    "segment-renamed", "message-rewritten", "commit-told",
)
cdef str wanted_name = ""
cdef long wanted_left = 0
has_failpoints = bool(FLOWMQ_HAS_FAILPOINTS)
if has_failpoints and "FLOWMQ_FAILPOINT" in os.environ:
    wanted_name, _, wanted_count = os.environ["FLOWMQ_FAILPOINT"].partition(":")
    wanted_left = int(wanted_count or 1)
    if wanted_name not in FAILPOINTS:
        raise ValueError(f"FLOWMQ_FAILPOINT: no such failpoint: {wanted_name}; one of {', '.join(FAILPOINTS)}")


cdef int reach_failpoint(str name) except -1:
    global wanted_left
    if name == wanted_name:
        wanted_left -= 1
        if wanted_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return 0
