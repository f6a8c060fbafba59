"""What runs in the sandbox's process: it shuts itself in, then runs the program. Run by path; imports no Tandem.

Three processes: this one enters fresh namespaces; its child is the first process of the new process namespace, with
which all others in it end; that one's child runs the program. Where there are no namespaces the same three run without.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import sys
import types
from typing import Any

_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWUSER = 0x0002_0000, 0x0800_0000, 0x1000_0000
_CLONE_NEWPID, _CLONE_NEWNET = 0x2000_0000, 0x4000_0000
_MS_NOSUID, _MS_NODEV, _MS_RDONLY, _MS_REC, _MS_PRIVATE = 0x2, 0x4, 0x1, 0x4000, 1 << 18
_SYS_MOUNT_SETATTR, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = 442, 0x8000, 0x1
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER, _SECCOMP_RET_ALLOW, _SECCOMP_RET_ERRNO = 2, 0x7FFF_0000, 0x0005_0000
_CLONE_THREAD = 0x0001_0000
# (audit architecture, clone, clone3, others that start processes)
_CALLS = {"x86_64": (0xC000_003E, 56, 435, (57, 58)), "aarch64": (0xC000_00B7, 220, 435, ())}


def main() -> None:
    """Reads the request from standard input; reports on what was standard output."""
    _end_with_parent()
    request = json.loads(sys.stdin.buffer.read())
    report, null = os.dup(1), os.open(os.devnull, os.O_RDWR)
    isolated = _isolate(request["folder"], request["file_bytes"])
    if _fork_and_wait() and _fork_and_wait():
        os.chdir(request["folder"])
        _limit(request)
        token = os.urandom(16).hex().encode()
        os.write(report, b"%s %s\n" % (b"isolated" if isolated else b"limited", token))
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        _run(request["parts"])
        os.write(report, token + b"\n")
    os._exit(0)


def _run(parts: list[str]) -> None:
    module = types.ModuleType("program")
    sys.modules["program"] = module  # dataclasses and typing look their module up
    try:
        for index, part in enumerate(parts):
            exec(compile(part, f"<part {index}>", "exec", dont_inherit=True), module.__dict__)
    except BaseException:  # SystemExit too: whoever leaves before the end has not passed
        os._exit(1)


def _fork_and_wait() -> bool:
    """Goes on in a child, whose end is this process's; always true."""
    pid = os.fork()
    if pid:
        # Nothing here may hold the report open: its end tells that the program has ended.
        os.closerange(1, 256)
        while os.wait()[0] != pid:
            pass
        os._exit(0)
    _end_with_parent()
    return True


def _end_with_parent() -> None:
    if sys.platform == "linux":
        _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)


def _isolate(folder: str, num_bytes: int) -> bool:
    """Leaves behind network, processes and every writable file; whether that worked. In part, it may have."""
    if sys.platform != "linux":
        return False
    # os.unshare needs Python 3.12; the C library's own is the same. A user namespace gives an ordinary user the rights
    # for the others.
    user, group = os.getuid(), os.getgid()
    everything = _CLONE_NEWNS | _CLONE_NEWIPC | _CLONE_NEWPID | _CLONE_NEWNET
    try:
        try:
            _call("unshare", _CLONE_NEWUSER | everything)
        except OSError:
            _call("unshare", everything)  # user namespaces may be forbidden even to root
        else:
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{user} {user} 1")
            _write("/proc/self/gid_map", f"{group} {group} 1")
        _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
        read_only = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
        size = ctypes.c_size_t(ctypes.sizeof(read_only))
        number, here = ctypes.c_long(_SYS_MOUNT_SETATTR), ctypes.c_int(-1)
        _call("syscall", number, here, b"/", ctypes.c_uint(_AT_RECURSIVE), read_only, size)
        _mount("tmpfs", folder, f"size={num_bytes},nr_inodes=4096,mode=700", _MS_NOSUID | _MS_NODEV)
        for place in ("/proc", "/dev"):  # other processes' environments; disks, which root could write
            _mount("tmpfs", place, "size=4k", _MS_NOSUID | _MS_NODEV | _MS_RDONLY)
    except (OSError, AttributeError):
        return False
    return True


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _mount(kind: str | None, place: str, options: str | None, flags: int) -> None:
    source = None if kind is None else kind.encode()
    data = None if options is None else options.encode()
    _call("mount", source, place.encode(), source, ctypes.c_ulong(flags), data)


def _limit(request: dict[str, Any]) -> None:
    for which, value in (
        (resource.RLIMIT_CPU, request["cpu_seconds"]),
        (resource.RLIMIT_AS, request["memory_bytes"]),
        (resource.RLIMIT_FSIZE, request["file_bytes"]),
        (resource.RLIMIT_NOFILE, request["num_open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        _set_limit(which, value)
    if sys.platform == "linux":
        _give_up_rights()
    if not _forbid_processes():
        # Counts the user's processes outside as well, threads included, and does not bind root: so it comes second.
        _set_limit(resource.RLIMIT_NPROC, 0)


def _set_limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _give_up_rights() -> None:
    """Drops what being root, here or in the user namespace, would allow; no program that is started gets it back."""
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x2008_0522, 0)  # version 3, this process
    _call("capset", header, (ctypes.c_uint32 * 6)())


def _forbid_processes() -> bool:
    """Makes the system refuse new processes, though not threads; whether it can.

    A filter of system calls, because a limit on their number counts all of a user's processes and does not bind root.
    """
    if sys.platform != "linux" or os.uname().machine not in _CALLS:
        return False
    architecture, clone, clone3, others = _CALLS[os.uname().machine]
    load, equal, has_bit, give = 0x20, 0x15, 0x45, 0x06
    refuse = _SECCOMP_RET_ERRNO | errno.EPERM
    # (operation, instructions skipped if so, if not, operand)
    program = [
        (load, 0, 0, 4),  # architecture
        (equal, 1, 0, architecture),
        (give, 0, 0, refuse),  # another architecture's calls have other numbers
        (load, 0, 0, 0),  # number of the call
    ]
    for call in others:
        program += [(equal, 0, 1, call), (give, 0, 0, refuse)]
    program += [
        # What clone3 is asked for cannot be seen from here. Told that it does not exist, the C library takes clone.
        (equal, 0, 1, clone3),
        (give, 0, 0, _SECCOMP_RET_ERRNO | errno.ENOSYS),
        (equal, 0, 3, clone),
        (load, 0, 0, 16),  # its flags
        (has_bit, 1, 0, _CLONE_THREAD),
        (give, 0, 0, refuse),
        (give, 0, 0, _SECCOMP_RET_ALLOW),
    ]
    code = b"".join(
        operation.to_bytes(2, "little") + bytes((yes, no)) + operand.to_bytes(4, "little")
        for operation, yes, no, operand in program
    )
    buffer = ctypes.create_string_buffer(code, len(code))
    length, place = len(program).to_bytes(8, "little"), ctypes.addressof(buffer).to_bytes(8, "little")
    filter_ = ctypes.create_string_buffer(length + place, 16)
    try:
        _call("prctl", _PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), filter_, 0, 0)
    except OSError:
        return False
    return True


def _call(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
