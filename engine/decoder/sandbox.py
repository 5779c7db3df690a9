"""What the decoder's process forbids itself: files to write, memory, time, the network, other programs."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import resource
import select
import signal
import struct
import sys

OPEN_FILES = 16
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_CALLS = 0x40000000
# Whatever reaches another machine, another program or another process: (x86_64, aarch64). One thread is all
# that it needs.
FORBIDDEN_CALLS: dict[str, tuple[int, int | None]] = {
    "socket": (41, 198),
    "connect": (42, 203),
    "socketpair": (53, 199),
    "clone": (56, 220),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "kill": (62, 129),
    "ptrace": (101, 117),
    "mount": (165, 40),
    "unshare": (272, 97),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "bpf": (321, 280),
    "execveat": (322, 281),
    "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "pidfd_getfd": (438, 438),
}


def confine() -> None:
    """What holds for every song: no file grows, few are open, no core is written, no network."""
    limit(resource.RLIMIT_FSIZE, 0)
    limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    limit(resource.RLIMIT_CORE, 0)
    forbid_calls()


def limit(which: int, value: int) -> None:
    """Lower a resource limit to `value`, or to the limit that already holds."""
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # A second between soft and hard: too much CPU must end in SIGXCPU, which tells why, not in SIGKILL.
    spare = 1 if which == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else 0
    resource.setrlimit(which, (value, value + spare))


def forbid_calls() -> bool:
    """Let every call of FORBIDDEN_CALLS fail with EPERM from now on; needs no privilege.

    False where that can't be had (not Linux, another processor, a kernel without seccomp): the lists of
    formats and protocols still hold there.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in AUDIT_ARCH or struct.calcsize("P") != 8:
        return False
    code = _filter(machine)
    libc = ctypes.CDLL(None)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: how many instructions, and where.
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    word = ctypes.c_ulong
    if libc.prctl(PR_SET_NO_NEW_PRIVS, word(1), word(0), word(0), word(0)):
        return False
    done = libc.prctl(PR_SET_SECCOMP, word(SECCOMP_MODE_FILTER), ctypes.byref(program), word(0), word(0))
    return bool(done == 0)


def _filter(machine: str) -> bytes:
    """A classic BPF program (linux/seccomp.h): instructions of (code, jump if true, jump if false, value)."""
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    kill, allow, deny = 0x80000000, 0x7FFF0000, 0x00050000 | errno.EPERM
    column = list(AUDIT_ARCH).index(machine)
    numbers = [number for calls in FORBIDDEN_CALLS.values() if (number := calls[column]) is not None]
    # The call's number is at offset 0, the architecture at 4. Calls of another architecture have other
    # numbers, and no honest decoder makes them.
    steps = [(load, 0, 0, 4), (equal, 1, 0, AUDIT_ARCH[machine]), (answer, 0, 0, kill), (load, 0, 0, 0)]
    steps.append((at_least, len(numbers) + 1, 0, X32_CALLS))
    steps += [(equal, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    steps += [(answer, 0, 0, allow), (answer, 0, 0, deny)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def die_with(pipe: int) -> None:
    """End this process (SIGIO) when the other end of `pipe` is closed, be it by its owner's death.

    PR_SET_PDEATHSIG would not do: it looks at the thread that started the process, and that one may end.
    Nothing may be sent through the pipe any more.
    """
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    if poll.poll(0):  # It was closed before the signal was asked for.
        signal.raise_signal(signal.SIGIO)
