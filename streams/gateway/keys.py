"""API keys: who a caller is and what it may do.

A key is 256 random bits and is shown once, when it is made. The file holds only its SHA-256: a key
of so many bits needs no slow hash. `KeyRing` sees when the file changes, so that a key that is
revoked is refused within a second, by every gateway that reads the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from streams.errors import UserError

log = logging.getLogger("tenor.gateway")

PREFIX: Final = "tenor_"
"""Of every key, so that scanners of leaked secrets and people know what it is."""
EVERY_S: Final = 1.0
"""How often the file is looked at."""
LARGEST: Final = 4 * 2**20
"""Bytes of the file."""
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Scope(StrEnum):
    """What a key may do; `admin` everything, in its namespace."""

    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is there. `namespace` is what the ids of its sessions begin with; empty: all are its."""

    name: str
    scopes: frozenset[Scope]
    namespace: str = ""

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def owns(self, session: str) -> bool:
        return session.startswith(self.namespace)


ANYBODY: Final = Caller("anybody", frozenset(Scope))
"""Where no keys are asked for."""


class KeysError(UserError):
    """The file of keys is not what it should be; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Key:
    """A line of the file."""

    caller: Caller
    hash: str
    created: str

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError, TypeError or AttributeError."""
        name, digest, namespace = data["name"], data["sha256"], data.get("namespace", "")
        if not (_NAME.fullmatch(name) and _HASH.fullmatch(digest) and isinstance(namespace, str)):
            raise ValueError
        scopes = frozenset(Scope(each) for each in data["scopes"])
        return cls(Caller(name, scopes, namespace), digest, str(data.get("created", "")))

    def data(self) -> dict[str, Any]:
        return {
            "name": self.caller.name,
            "scopes": sorted(self.caller.scopes),
            "namespace": self.caller.namespace,
            "sha256": self.hash,
            "created": self.created,
        }


def digest(key: str) -> str:
    """What the file holds of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def load(path: Path) -> dict[str, Key]:
    """The keys of a file, by their names.

    Raises:
        KeysError: it cannot be read, or is not such a file.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise KeysError(f"{path} is larger than {LARGEST} bytes: no file of keys")
        keys = [Key.of(each) for each in json.loads(path.read_bytes())["keys"]]
    except OSError as error:
        raise KeysError(
            f"cannot read the keys in {path}: {error.strerror}; `tenor keys add` makes the file"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise KeysError(f"{path} is not a file of `tenor keys`: mend it, or name another") from None
    named = {each.caller.name: each for each in keys}
    if len(named) < len(keys):
        raise KeysError(f"{path} has two keys of one name: revoke one")
    return named


def add(path: Path, caller: Caller, created: str) -> str:
    """Makes a key for somebody and returns it; nobody will see it again.

    Raises:
        KeysError: the name is taken or not a name, or the file cannot be read or written.
    """
    if not _NAME.fullmatch(caller.name):
        raise KeysError("a name is 1 to 64 of A-Z, a-z, 0-9, dot, underscore and hyphen")
    key = PREFIX + secrets.token_urlsafe(32)
    with _locked(path) as keys:
        if caller.name in keys:
            raise KeysError(
                f"there is a key {caller.name} already: revoke it, or take another name"
            )
        keys[caller.name] = Key(caller, digest(key), created)
        _write(path, keys.values())
    return key


def revoke(path: Path, name: str) -> None:
    """Takes a key away. Raises KeysError."""
    with _locked(path) as keys:
        if name not in keys:
            raise KeysError(f"there is no key {name} in {path}")
        del keys[name]
        _write(path, keys.values())


@contextmanager
def _locked(path: Path) -> Iterator[dict[str, Key]]:
    """The keys, while nobody else changes them."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield load(path) if path.exists() else {}
    except OSError as error:
        raise KeysError(f"cannot write {error.filename or path}: {error.strerror}") from None


def _write(path: Path, keys: Iterable[Key]) -> None:
    """All or nothing, and readable to the same people as before."""
    path = path.resolve()
    text = json.dumps({"keys": [each.data() for each in keys]}, indent=1) + "\n"
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            if path.exists():
                os.fchmod(handle, path.stat().st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(handle)
        Path(made).replace(path)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise


class KeyRing:
    """The keys that count now. A file that was lost or spoilt while the gateway runs changes
    nothing: it goes on with the keys it has, and says so in the log."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises KeysError."""
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._stamp = self._now()
        self._callers: dict[str, Caller] = {}
        self._take(load(path))

    def find(self, key: str) -> Caller | None:
        """Whose key it is."""
        self.refresh()
        return self._callers.get(digest(key))

    def holds(self, caller: Caller) -> bool:
        """Whether this caller, exactly so, still has a key."""
        self.refresh()
        return caller in self._known

    def refresh(self) -> None:
        """Reads the file again if it changed; looks at it once in `EVERY_S`."""
        if (now := self._clock()) - self._looked < EVERY_S:
            return
        self._looked = now
        if (stamp := self._now()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._take(load(self._path))
        except KeysError as error:
            log.error("%s; the keys of before still count", error)
        else:
            log.info("%d keys read anew", len(self._callers))

    def _take(self, keys: dict[str, Key]) -> None:
        self._callers = {each.hash: each.caller for each in keys.values()}
        self._known = frozenset(self._callers.values())

    def _now(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
