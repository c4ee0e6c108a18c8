"""Runs inside a job's container: tries what a malicious job would want, and prints what came of it as JSON.

Every attempt must fail, or be in the test's short list of the harmless. Nothing here reaches beyond the container:
the only addresses are the container's own loopback and ones that cannot be routed from it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import socket
import struct
import subprocess
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
OUTCOMES: dict[str, str] = {}
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
AF_ALG, AF_VSOCK = 38, 40


def attempt(name: str, action: Callable[[], object]) -> None:
    """Note ``succeeded``, a value that was learnt, or ``blocked`` with the kernel's reason."""
    try:
        result = action()
        OUTCOMES[name] = "succeeded" if result in (None, True) else f"learnt:{result}"
    except OSError as error:
        OUTCOMES[name] = f"blocked:{errno.errorcode.get(error.errno or 0, str(error.errno))}"
    except (ValueError, subprocess.SubprocessError) as error:
        OUTCOMES[name] = f"blocked:{type(error).__name__}"


def syscall(number: int, *arguments: object) -> Callable[[], object]:
    def call() -> None:
        ctypes.set_errno(0)
        if LIBC.syscall(number, *arguments) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    return call


def in_child(action: Callable[[], int]) -> Callable[[], object]:
    """What would change this process for good is tried in a child."""

    def call() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if action() == 0 else ctypes.get_errno() or 1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            raise OSError(code, os.strerror(code))

    return call


def write(path: str, text: str) -> Callable[[], object]:
    def call() -> None:
        with open(path, "w") as file:
            file.write(text)

    return call


def read(path: str) -> Callable[[], object]:
    def call() -> None:
        with open(path, "rb") as file:
            if not file.read(16):
                raise OSError(errno.ENODATA, "empty")

    return call


def open_socket(family: int, kind: int, protocol: int = 0) -> Callable[[], object]:
    return lambda: socket.socket(family, kind, protocol).close()


def connect(address: tuple[str, int]) -> Callable[[], object]:
    return lambda: socket.create_connection(address, timeout=1).close()


def buffer(size: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(size)


def privileges() -> None:
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    OUTCOMES["user"] = f"learnt:{os.getuid()}:{os.getgid()}"
    OUTCOMES["groups"] = f"learnt:{os.getgroups()}"
    OUTCOMES["capabilities"] = f"learnt:{status['CapEff']}/{status['CapPrm']}/{status['CapBnd']}"
    OUTCOMES["no new privileges"] = f"learnt:{status['NoNewPrivs']}"
    OUTCOMES["seccomp"] = f"learnt:{status['Seccomp']}"
    attempt("become root", lambda: os.setuid(0))
    attempt("become root's group", lambda: os.setgid(0))
    attempt("join a group", lambda: os.setgroups([0]))
    attempt("raise priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
    attempt("real-time scheduling", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))


def file_system() -> None:
    attempt("write the root", write("/evil", "x"))
    attempt("write /etc/passwd", write("/etc/passwd", "x"))
    attempt("write /usr/local/bin", write("/usr/local/bin/evil", "x"))
    attempt("mount tmpfs", syscall(165, b"none", b"/tmp", b"tmpfs", 0, 0))
    attempt("new mount api", syscall(430, b"tmpfs", 0))
    attempt("unmount /work", syscall(166, b"/work", 0))
    attempt("remount the root writable", syscall(165, b"none", b"/", b"", 0x20 | 0x1000, 0))
    attempt("make a disk node", lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0)))
    attempt("make a memory node", lambda: os.mknod("/tmp/mem", 0o20600, os.makedev(1, 1)))
    attempt("chroot", in_child(lambda: LIBC.chroot(b"/tmp")))
    attempt("pivot_root", syscall(155, b"/tmp", b"/tmp"))
    attempt("open_by_handle_at", syscall(304, -1, buffer(64), 0))
    attempt("the engine's socket", lambda: os.stat("/var/run/docker.sock"))
    attempt("loop control", read("/dev/loop-control"))
    attempt("the host's disk", read("/dev/vda"))
    attempt("kernel memory", read("/dev/mem"))
    attempt("set-id survives", set_id_survives)
    attempt("new swap", syscall(167, b"/work/out", 0))


def set_id_survives() -> None:
    """A set-id file of ours would be another user's trap on the host, if the file system kept its meaning."""
    os.makedirs("/work/out", exist_ok=True)
    with open("/work/out/trap", "w") as file:
        file.write("x")
    os.chown("/work/out/trap", 0, 0)


def kernel() -> None:
    attempt("new user namespace", in_child(lambda: LIBC.unshare(CLONE_NEWUSER)))
    attempt("new mount namespace", in_child(lambda: LIBC.unshare(CLONE_NEWNS)))
    attempt("new pid namespace", in_child(lambda: LIBC.unshare(CLONE_NEWPID)))
    attempt("clone into a user namespace", syscall(56, CLONE_NEWUSER | 17, 0, 0, 0, 0))
    attempt("clone3", syscall(435, buffer(88), 88))
    attempt("join init's namespaces", join_init)
    attempt("ptrace me", syscall(101, 0, 0, 0, 0))
    attempt("ptrace init", syscall(101, 16, 1, 0, 0))
    attempt("read another's memory", syscall(310, 1, 0, 0, 0, 0, 0))
    attempt("bpf", syscall(321, 0, buffer(128), 128))
    attempt("perf events", syscall(298, buffer(112), 0, -1, -1, 0))
    attempt("io_uring", syscall(425, 8, buffer(240)))
    attempt("userfaultfd", syscall(323, 0))
    attempt("keyring", syscall(248, b"user", b"x", b"y", 1, -2))
    attempt("load a module", syscall(175, buffer(16), 16, b""))
    attempt("kexec", syscall(246, 0, 0, 0, 0))
    attempt("reboot", syscall(169, 0xFEE1DEAD, 672274793, 0, 0))
    attempt("kernel log", syscall(103, 3, buffer(4096), 4096))
    attempt("set the clock", syscall(227, 0, buffer(16)))
    attempt("set the host's name", lambda: socket.sethostname("evil"))
    attempt("executable personality", syscall(135, 0x0400000))
    attempt("port access", syscall(172, 3))
    attempt("fanotify", syscall(300, 0, 0))


def join_init() -> None:
    descriptor = os.open("/proc/1/ns/mnt", os.O_RDONLY)
    syscall(308, descriptor, 0)()


def proc_and_sys() -> None:
    attempt("core pattern", write("/proc/sys/kernel/core_pattern", "|/evil"))
    attempt("sysrq", write("/proc/sysrq-trigger", "h"))
    attempt("kernel core", read("/proc/kcore"))
    attempt("physical pages", read("/proc/kpageflags"))
    attempt("symbol addresses", symbol_addresses)
    attempt("release agent", write("/sys/fs/cgroup/memory/release_agent", "/evil"))
    attempt("own memory limit", write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"))
    attempt("own memory limit, version 2", write("/sys/fs/cgroup/memory.max", "max"))
    attempt("uevent helper", write("/sys/kernel/uevent_helper", "/evil"))
    attempt("protect from the killer", write("/proc/self/oom_score_adj", "-1000"))
    attempt("other users' processes", other_processes)


def symbol_addresses() -> None:
    with open("/proc/kallsyms") as file:
        if int(file.readline().split()[0], 16) == 0:
            raise PermissionError(errno.EPERM, "zeroed")


def other_processes() -> None:
    known = {1, os.getpid(), os.getppid()}
    if not {int(name) for name in os.listdir("/proc") if name.isdigit()} - known:
        raise ProcessLookupError(errno.ESRCH, "only our own")


def network() -> None:
    attempt("raw socket", open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    attempt("packet socket", open_socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3)))
    attempt("vsock", open_socket(AF_VSOCK, socket.SOCK_STREAM))
    attempt("kernel crypto socket", open_socket(AF_ALG, socket.SOCK_SEQPACKET))
    attempt("an address outside", connect(("192.0.2.1", 80)))
    attempt("the bridge's host", connect(("172.17.0.1", 22)))
    interfaces = [name for _, name in socket.if_nameindex() if name != "lo" and is_up(name)]
    OUTCOMES["interfaces up"] = f"learnt:{interfaces}"


def is_up(name: str) -> bool:
    import fcntl

    with socket.socket() as probe:
        request = struct.pack("16sH14x", name.encode(), 0)
        return bool(struct.unpack("16sH14x", fcntl.ioctl(probe, 0x8913, request))[1] & 1)


def what_jobs_need() -> None:
    """A profile under which honest programs fail would protect nobody."""
    attempt("needed: write /work", write("/work/out/file", "x"))
    attempt("needed: execute from /tmp", execute_from_tmp)
    attempt("needed: threads and processes", lambda: subprocess.run(["true"], check=True) and None)
    attempt("needed: shared memory", lambda: mmap.mmap(-1, 1 << 20).close())
    attempt("needed: loopback", loopback)
    attempt("needed: memory for execution", lambda: mmap.mmap(-1, 4096, prot=7).close())


def execute_from_tmp() -> None:
    write("/tmp/run.sh", "#!/bin/sh\nexit 0\n")()
    os.chmod("/tmp/run.sh", 0o700)
    subprocess.run(["/tmp/run.sh"], check=True)


def loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()


if __name__ == "__main__":
    for chapter in (privileges, file_system, kernel, proc_and_sys, network, what_jobs_need):
        chapter()
    print(json.dumps(OUTCOMES))
