"""The token of a cluster: a shared secret, from a file or the environment, never an argument.

Every user can read the arguments of processes (``ps``); a file of mode 0600 and a process's
environment are their user's alone. Clients and peers carry it in their hello, and requests to the
admin endpoint as ``Authorization: Bearer TOKEN``. ``doors`` says how much it protects.

Used by the node and the client.
"""

from __future__ import annotations

import os
import stat

VARIABLE = "SPLITBRAIN_TOKEN"
LENGTH_MIN, LENGTH_MAX = 16, 512


class BadToken(Exception):
    """There is a token, and it cannot be used; the message is one sentence."""


def read_token(file: str | None) -> str:
    """The token: from a file, else from the environment, else "" for none.

    Args:
        file: what ``--token-file`` says.

    Raises:
        BadToken: the file cannot be read, others may read it, or what is there is no token.
    """
    if file is None:
        return _checked(os.environ.get(VARIABLE, ""), f"the variable {VARIABLE}")
    option = f"--token-file {file!r}"
    try:
        # A pipe without a writer must not be waited for.
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as opened:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise BadToken(f"{option} is no regular file")
            if status.st_mode & 0o077:
                raise BadToken(f"{option} can be read by others: chmod 600 it")
            text = opened.read(LENGTH_MAX * 2).decode("ascii", "replace").strip()
    except OSError as error:
        raise BadToken(f"{option} cannot be read: {error.strerror}") from None
    if not text:
        raise BadToken(f"{option} is empty")
    return _checked(text, option)


def _checked(text: str, where: str) -> str:
    if not text:
        return ""
    plain = text.isascii() and text.isprintable() and " " not in text
    if not plain or not LENGTH_MIN <= len(text) <= LENGTH_MAX:
        wanted = f"{LENGTH_MIN} to {LENGTH_MAX} printable ASCII characters without a space"
        raise BadToken(f"{where} holds no token, which is {wanted}")
    return text
