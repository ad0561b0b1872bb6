"""Run a command as systemd would, by the part of a unit's sandbox that the kernel gives to any process.

    python confined.py '{"calls": ["read", ...], "families": [1, 2]}' ringback serve

`unit.py` starts it in the unit's root, as the unit's user, with mounts and capabilities made. It refuses memory that is
writable and executable, system calls beside the given ones and sockets of other families, and becomes the command. It
runs on the Python of that root, so it imports nothing of ours.
"""

import ctypes
import json
import os
import sys

PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
EPERM, EAFNOSUPPORT = 1, 97
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EQUAL = 4
FAMILIES = 46


class Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp` of libseccomp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("more", ctypes.c_uint64),
    )


def refuse_writable_code() -> None:
    """Have the kernel do what MemoryDenyWriteExecute= does by a filter; kernels before 6.3 cannot, and go on."""
    ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)


def filter_calls(calls: list[str], families: list[int]) -> None:
    """Allow these system calls, and sockets of these families."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ERRNO | EPERM))
    for name in calls:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0 and name != "socket":
            library.seccomp_rule_add(context, ALLOW, number, 0)
    number = library.seccomp_syscall_resolve_name(b"socket")
    for family in range(FAMILIES):
        verdict = ALLOW if family in families else ERRNO | EAFNOSUPPORT
        library.seccomp_rule_add_array(context, verdict, number, 1, ctypes.byref(Comparison(0, EQUAL, family, 0)))
    if library.seccomp_load(context):
        sys.exit("confined: no filter of system calls")


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    refuse_writable_code()
    filter_calls(wanted["calls"], wanted["families"])
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted
