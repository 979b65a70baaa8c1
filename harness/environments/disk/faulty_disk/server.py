"""The file system: requests of the kernel are done in the directory behind, faults permitting.

Several threads read requests, since a slow sync must not hold up what does not wait for it. Nothing
is cached here; the kernel keeps pages for reading and sends each write at once, so that a write is
in this process's hands (and then in the directory's file system) before ``write`` returns, and
``fsync`` reaches the real disk.

    python -m harness.environments.disk.faulty_disk.server DIRECTORY --name NAME [...]

serves until it is unmounted. ``--in-mounts-of`` mounts in another process's mount namespace: that
of a container. The line ``mounted`` on standard output says that it is there.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import control, wire
from .faults import CHANGE, GROW, READ, SYNC, WRITE, Faults
from .tree import Tree

_THREADS = 12
#: places looked at for one that holds something
_FLIP_TRIES = 500
_NEW_MOUNT_NAMESPACE = 0x00020000
_NOSUID_NODEV = 0x2 | 0x4
_DETACH = 0x2
#: what the kernel does itself, or would do twice
_NOT_PASSED_ON = (
    os.O_APPEND | os.O_SYNC | os.O_DSYNC | os.O_DIRECT | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
)
_LIBC = ctypes.CDLL(None, use_errno=True)


def _libc(function: str, *arguments: Any) -> None:
    if getattr(_LIBC, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


class FileSystem:
    """Answers requests about one directory.

    Args:
        root: descriptor of the directory behind.
        faults: what goes wrong.
    """

    def __init__(self, root: int, faults: Faults) -> None:
        self.tree = Tree(root)
        self.faults = faults
        self.flips = BitFlips(self.tree, faults)
        self._directories = Directories(self.tree, faults)
        self._do: dict[int, Callable[[wire.Request], bytes]] = {
            wire.INIT: lambda request: wire.init(request.body),
            wire.LOOKUP: lambda r: self.tree.look_up(r.inode, wire.names(r.body)[0]),
            wire.GETATTR: self._get_attributes,
            wire.SETATTR: self._set_attributes,
            wire.READLINK: lambda r: os.fsencode(os.readlink("", dir_fd=self._fd(r))),
            wire.SYMLINK: self._symlink,
            wire.MKNOD: self._mknod,
            wire.MKDIR: self._mkdir,
            wire.UNLINK: self._unlink,
            wire.RMDIR: self._rmdir,
            wire.RENAME: self._rename,
            wire.RENAME2: self._rename2,
            wire.LINK: self._link,
            wire.OPEN: self._open,
            wire.CREATE: self._create,
            wire.READ: self._read,
            wire.WRITE: self._write,
            wire.STATFS: self._space,
            wire.RELEASE: self._release,
            wire.RELEASEDIR: self._release,
            wire.FLUSH: lambda request: b"",
            wire.FSYNC: self._sync,
            wire.FSYNCDIR: self._sync,
            wire.OPENDIR: self._directories.open,
            wire.READDIR: self._directories.read,
            wire.FALLOCATE: self._allocate,
            wire.LSEEK: self._seek,
            wire.DESTROY: lambda request: b"",
        }

    def answer(self, request: wire.Request) -> list[bytes]:
        """The answer to a request; empty if none is wanted."""
        if request.operation in wire.SILENT:
            self._forget(request)
            return []
        do = self._do.get(request.operation)
        if do is None:
            return wire.refusal(request.unique, errno.ENOSYS)
        try:
            return wire.answer(request.unique, do(request))
        except OSError as error:
            return wire.refusal(request.unique, error.errno or errno.EIO)
        except KeyError:
            return wire.refusal(request.unique, errno.ESTALE)
        except ValueError:
            return wire.refusal(request.unique, errno.EINVAL)

    def _fd(self, request: wire.Request) -> int:
        return self.tree.inode(request.inode).fd

    def _forget(self, request: wire.Request) -> None:
        if request.operation == wire.FORGET:
            self.tree.forget(request.inode, wire.NUMBER_IN.unpack_from(request.body)[0])
        elif request.operation == wire.BATCH_FORGET:
            count = wire.OPEN_IN.unpack_from(request.body)[0]
            for at in range(8, 8 + count * wire.FORGET_ONE.size, wire.FORGET_ONE.size):
                self.tree.forget(*wire.FORGET_ONE.unpack_from(request.body, at))

    # -- attributes ----------------------------------------------------------------------------

    def _get_attributes(self, request: wire.Request) -> bytes:
        return wire.attributes_answer(os.stat(self._fd(request)))

    def _set_attributes(self, request: wire.Request) -> bytes:
        path = self.tree.inode(request.inode).path
        fields = wire.SETATTR_IN.unpack_from(request.body)
        valid, handle, size, atime, mtime = (fields[i] for i in (0, 2, 3, 5, 6))
        atime_ns, mtime_ns, mode, uid, gid = (fields[i] for i in (8, 9, 11, 13, 14))
        self.faults.before(CHANGE)
        if valid & wire.SET_MODE:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & (wire.SET_UID | wire.SET_GID):
            owner = uid if valid & wire.SET_UID else -1
            os.chown(path, owner, gid if valid & wire.SET_GID else -1)
        if valid & wire.SET_SIZE:
            os.truncate(handle if valid & wire.SET_HANDLE else path, size)
        if valid & (wire.SET_ATIME | wire.SET_MTIME):
            now = os.stat(path)
            times = [now.st_atime_ns, now.st_mtime_ns]
            if valid & wire.SET_ATIME:
                times[0] = atime * 10**9 + atime_ns
            if valid & wire.SET_MTIME:
                times[1] = mtime * 10**9 + mtime_ns
            if valid & (wire.SET_ATIME_NOW | wire.SET_MTIME_NOW):
                os.utime(path)
            else:
                os.utime(path, ns=(times[0], times[1]))
        return self._get_attributes(request)

    def _space(self, request: wire.Request) -> bytes:
        full = bool(self.faults.now.get("full"))
        return wire.space(os.statvfs(self.tree.inode(wire.ROOT).path), full=full)

    # -- names ---------------------------------------------------------------------------------

    def _made(self, request: wire.Request, name: bytes) -> bytes:
        """Give a new entry to the process that asked for it, and announce it to the kernel."""
        os.chown(name, request.uid, request.gid, dir_fd=self._fd(request), follow_symlinks=False)
        return self.tree.look_up(request.inode, name)

    def _symlink(self, request: wire.Request) -> bytes:
        name, target = wire.names(request.body, 2)
        self.faults.before(GROW)
        os.symlink(target, name, dir_fd=self._fd(request))
        return self._made(request, name)

    def _mknod(self, request: wire.Request) -> bytes:
        mode, device, _, _ = wire.MKNOD_IN.unpack_from(request.body)
        name = wire.names(request.body[wire.MKNOD_IN.size :])[0]
        self.faults.before(GROW)
        os.mknod(name, mode, device, dir_fd=self._fd(request))
        return self._made(request, name)

    def _mkdir(self, request: wire.Request) -> bytes:
        mode, _ = wire.MKDIR_IN.unpack_from(request.body)
        name = wire.names(request.body[wire.MKDIR_IN.size :])[0]
        self.faults.before(GROW)
        os.mkdir(name, stat.S_IMODE(mode), dir_fd=self._fd(request))
        return self._made(request, name)

    def _unlink(self, request: wire.Request) -> bytes:
        self.faults.before(CHANGE)
        os.unlink(wire.names(request.body)[0], dir_fd=self._fd(request))
        return b""

    def _rmdir(self, request: wire.Request) -> bytes:
        self.faults.before(CHANGE)
        os.rmdir(wire.names(request.body)[0], dir_fd=self._fd(request))
        return b""

    def _rename(self, request: wire.Request) -> bytes:
        (to,) = wire.NUMBER_IN.unpack_from(request.body)
        old, new = wire.names(request.body[wire.NUMBER_IN.size :], 2)
        self.faults.before(CHANGE)
        os.rename(old, new, src_dir_fd=self._fd(request), dst_dir_fd=self.tree.inode(to).fd)
        return b""

    def _rename2(self, request: wire.Request) -> bytes:
        to, flags, _ = wire.RENAME2_IN.unpack_from(request.body)
        old, new = wire.names(request.body[wire.RENAME2_IN.size :], 2)
        self.faults.before(CHANGE)
        _libc("renameat2", self._fd(request), old, self.tree.inode(to).fd, new, flags)
        return b""

    def _link(self, request: wire.Request) -> bytes:
        (old,) = wire.NUMBER_IN.unpack_from(request.body)
        name = wire.names(request.body[wire.NUMBER_IN.size :])[0]
        self.faults.before(CHANGE)
        source = self.tree.inode(old).path
        os.link(source, name, dst_dir_fd=self._fd(request), follow_symlinks=True)
        return self.tree.look_up(request.inode, name)

    # -- files ---------------------------------------------------------------------------------

    def _open(self, request: wire.Request) -> bytes:
        flags, _ = wire.OPEN_IN.unpack_from(request.body)
        self.faults.before(CHANGE if flags & os.O_TRUNC else READ)
        path = self.tree.inode(request.inode).path
        return wire.opened(os.open(path, flags & ~_NOT_PASSED_ON))

    def _create(self, request: wire.Request) -> bytes:
        flags, mode, _, _ = wire.CREATE_IN.unpack_from(request.body)
        name = wire.names(request.body[wire.CREATE_IN.size :])[0]
        self.faults.before(GROW)
        keep = (flags & ~_NOT_PASSED_ON) | (flags & os.O_EXCL) | os.O_CREAT | os.O_NOFOLLOW
        handle = os.open(name, keep, stat.S_IMODE(mode), dir_fd=self._fd(request))
        try:
            return self._made(request, name) + wire.opened(handle)
        except BaseException:  # of any kind: the kernel was given no handle
            os.close(handle)
            raise

    def _read(self, request: wire.Request) -> bytes:
        handle, offset, size = wire.IO_IN.unpack_from(request.body)[:3]
        self.faults.before(READ)
        return os.pread(handle, size, offset)

    def _write(self, request: wire.Request) -> bytes:
        handle, offset, size = wire.IO_IN.unpack_from(request.body)[:3]
        data = request.body[wire.IO_IN.size :][:size]
        self.faults.before(WRITE)
        keep = self.faults.kept(size)
        done = 0
        while done < keep:
            done += os.pwrite(handle, data[done:keep], offset + done)
        if keep < size:
            raise OSError(errno.EIO, "the write was torn")
        return wire.written(size)

    def _sync(self, request: wire.Request) -> bytes:
        handle, how, _ = wire.FSYNC_IN.unpack_from(request.body)
        self.faults.before(SYNC)
        (os.fdatasync if how & 1 else os.fsync)(handle)
        return b""

    def _allocate(self, request: wire.Request) -> bytes:
        handle, offset, length, mode, _ = wire.FALLOCATE_IN.unpack_from(request.body)
        self.faults.before(GROW)
        _libc("fallocate", handle, mode, ctypes.c_long(offset), ctypes.c_long(length))
        return b""

    def _seek(self, request: wire.Request) -> bytes:
        handle, offset, whence, _ = wire.LSEEK_IN.unpack_from(request.body)
        return wire.NUMBER_IN.pack(os.lseek(handle, offset, whence))

    def _release(self, request: wire.Request) -> bytes:
        (handle,) = wire.HANDLE_IN.unpack_from(request.body)
        self._directories.released(handle)
        os.close(handle)
        return b""


class Directories:
    """Directories that are open: their names are listed once, when reading begins."""

    def __init__(self, tree: Tree, faults: Faults) -> None:
        self._tree, self._faults = tree, faults
        self._listings: dict[int, list[tuple[bytes, int, int]]] = {}

    def open(self, request: wire.Request) -> bytes:
        """A handle."""
        self._faults.before(READ)
        path = self._tree.inode(request.inode).path
        return wire.opened(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def read(self, request: wire.Request) -> bytes:
        """The next names, as many as the kernel has room for."""
        handle, offset, size = wire.IO_IN.unpack_from(request.body)[:3]
        if offset == 0 or handle not in self._listings:
            self._listings[handle] = self._tree.listing(handle)
        answer = bytearray()
        for at, (name, inode, mode) in enumerate(self._listings[handle][offset:], start=offset + 1):
            record = wire.directory_entry(inode, at, mode, name)
            if len(answer) + len(record) > size:
                break
            answer += record
        return bytes(answer)

    def released(self, handle: int) -> None:
        """A handle is closed."""
        self._listings.pop(handle, None)


class BitFlips:
    """Bits that change at rest, behind the back of all that have the file open."""

    def __init__(self, tree: Tree, faults: Faults) -> None:
        self._tree, self._faults = tree, faults

    def flip(self) -> int | None:
        """Change one bit of one file at rest; the file's number, if the kernel knows it.

        Longer files are hit more often, as by chance; room that was only reserved is spared, and
        so are zeros if anything else is found soon: there a bit would mostly harm nothing.
        """
        place = self._place()
        if place is None:
            return None
        name, offset = place
        bit = 1 << self._faults.random.randrange(8)
        fd = os.open(self._behind(name), os.O_RDWR | os.O_CLOEXEC)
        try:
            was = os.pread(fd, 1, offset)
            if not was:  # it was cut off just now
                return None
            os.pwrite(fd, bytes([was[0] ^ bit]), offset)
            found = os.fstat(fd)
        finally:
            os.close(fd)
        self._faults.count("flips")
        self._faults.flipped.append({"file": name, "offset": offset, "bit": bit})
        return self._tree.number_of((found.st_dev, found.st_ino))

    def _behind(self, name: str) -> str:
        return os.path.join(self._tree.inode(wire.ROOT).path, name)

    def _place(self) -> tuple[str, int] | None:
        """A file and a byte of it, not zero if one of many tries found such a one."""
        extents = self._tree.extents()
        if not extents:
            return None
        sizes = [end - begin for _, begin, end in extents]
        for name, begin, end in self._faults.random.choices(extents, weights=sizes, k=_FLIP_TRIES):
            offset = self._faults.random.randrange(begin, end)
            with open(self._behind(name), "rb") as file:
                file.seek(offset)
                if file.read(1) not in (b"", b"\0"):
                    break
        return name, offset


class Server:
    """Serves one mount.

    Args:
        device: descriptor of ``/dev/fuse``, mounted.
        files: what answers.
    """

    def __init__(self, device: int, files: FileSystem) -> None:
        self._device, self._files = device, files

    def serve(self) -> None:
        """Answer until it is unmounted."""
        threads = [threading.Thread(target=self._loop, daemon=True) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _loop(self) -> None:
        buffer = bytearray(wire.REQUEST_BYTES_MAX)
        view = memoryview(buffer)
        while True:
            try:
                size = os.readv(self._device, [buffer])
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                return
            answer = self._files.answer(wire.request(view[:size]))
            if answer:
                self._say(answer)

    def _say(self, parts: list[bytes]) -> None:
        try:
            os.writev(self._device, parts)
        except OSError as error:
            # ENOENT: the caller was interrupted, and no process waits for it.
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
                raise

    def control(self, name: str) -> None:
        """Take requests of the harness, each over a connection of its own, in a thread."""
        listener = control.listen(name)

        def loop() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if control.trusted(connection):
                        with connection.makefile("rb") as lines:
                            line = lines.readline()
                        connection.sendall(json.dumps(self._handled(line)).encode() + b"\n")

        threading.Thread(target=loop, daemon=True).start()

    def _handled(self, line: bytes) -> dict[str, Any]:
        faults = self._files.faults
        try:
            wanted = json.loads(line)["faults"]
            if wanted is not None:
                faults.set(wanted)
                if wanted.get("flip"):
                    number = self._files.flips.flip()
                    if number is not None:
                        self._say(wire.forget_pages(number))
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            return {"wrong": f"{type(error).__name__}: {error}"}
        return faults.report()


@contextlib.contextmanager
def _mounts_of(pid: int) -> Iterator[None]:
    """Be in another process's mount namespace; 0 for this one's. No thread may run yet."""
    if not pid:
        yield
        return
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _libc("setns", there, _NEW_MOUNT_NAMESPACE)
        try:
            yield
        finally:
            _libc("setns", home, _NEW_MOUNT_NAMESPACE)
    finally:
        os.close(home)
        os.close(there)


def mount(directory: str, *, in_mounts_of: int = 0) -> tuple[int, int]:
    """Mount over a directory; descriptors of the device and of the directory behind.

    Args:
        directory: where.
        in_mounts_of: a process in whose mount namespace that is; 0 for this one's.

    Raises:
        OSError: the kernel refuses.
    """
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    with _mounts_of(in_mounts_of):
        root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mode = os.stat(root).st_mode
        options = f"fd={device},rootmode={mode:o},user_id=0,group_id=0,allow_other"
        options += ",default_permissions"
        words = (b"splitbrain-disk", os.fsencode(directory), b"fuse.splitbrain")
        _libc("mount", *words, _NOSUID_NODEV, options.encode())
    return device, root


def unmount(directory: str, *, in_mounts_of: int = 0) -> None:
    """Unmount; processes that still have files open there get errors. The server then ends.

    Raises:
        OSError: nothing is mounted there, or the kernel refuses.
    """
    with _mounts_of(in_mounts_of):
        _libc("umount2", os.fsencode(directory), _DETACH)


def main(words: Sequence[str] | None = None) -> int:
    """Mount and serve, or ask a server; see the module's text."""
    parser = argparse.ArgumentParser(prog="faulty_disk")
    parser.add_argument("directory", nargs="?")
    parser.add_argument("--name", default="", help="of the control socket")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in-mounts-of", type=int, default=0, metavar="PID")
    parser.add_argument("--ask", metavar="JSON", help="ask the server of this name instead")
    parser.add_argument("--unmount", action="store_true", help="instead of mounting")
    given = parser.parse_args(words)
    try:
        if given.unmount:
            unmount(given.directory, in_mounts_of=given.in_mounts_of)
            return 0
        if given.ask is not None:
            print(json.dumps(control.ask(given.name, json.loads(given.ask))))
            return 0
        os.umask(0)
        device, root = mount(given.directory, in_mounts_of=given.in_mounts_of)
        server = Server(device, FileSystem(root, Faults(seed=given.seed)))
        server.control(given.name)
    except (OSError, ValueError) as error:
        print(f"faulty_disk: {error}", file=sys.stderr)
        return 3
    print("mounted", flush=True)
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
