"""Who may do what in the embedded store, and the keys that prove it, which lie in its folder for its owner alone."""

import base64
import binascii
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hmac import compare_digest
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from ingest.errors import StoreUnusable

FILE = "credentials.json"
ANYBODY = frozenset({"", "default", "reader"})  # what drivers send for nobody in particular
KEY_CHARS_MIN = 16
KEY_CHARS_MAX = 256
NAME_CHARS_MAX = 64


class Role(StrEnum):
    """A role is also the name of its user. A content reader may say who they are: `content.NAME`."""

    WRITER = "writer"
    READER = "reader"
    CONTENT = "content"


class NotAllowed(Exception):
    """The user is unknown or the key is wrong."""


@dataclass(frozen=True)
class User:
    role: Role
    name: str


@dataclass(frozen=True)
class Credentials:
    """The keys by role; a reader needs none."""

    keys: Mapping[Role, str] = field(repr=False)

    def user(self, name: str, key: str) -> User:
        """Who that is. Raises NotAllowed."""
        if name in ANYBODY and not key:
            return User(Role.READER, Role.READER)
        said, _, person = name.partition(".")
        wanted = self.keys.get(Role(said)) if said in {Role.WRITER, Role.CONTENT} else None
        fits = compare_digest((wanted or secrets.token_hex()).encode(), key[:KEY_CHARS_MAX].encode(errors="replace"))
        if wanted is None or not fits or (person and said != Role.CONTENT) or len(person) > NAME_CHARS_MAX:
            raise NotAllowed
        return User(Role(said), person or said)

    def url(self, role: Role, address: str) -> str:
        """The store's address with what a role needs in it, for `ingest.query.connect`. Not to be shown."""
        parts = urlsplit(address)
        return urlunsplit(parts._replace(netloc=f"{role}:{quote(self.keys[role], safe='')}@{parts.netloc}"))


def kept(folder: Path) -> Credentials:
    """Those of the store in `folder`; made, with the folder, when there are none. Raises StoreUnusable."""
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path)
        return _read(path)
    except OSError as error:
        raise StoreUnusable(
            f"cannot keep the store's credentials in {str(path)!r}: {error.strerror}. Make room or name another folder"
        ) from None


def found(folder: Path) -> Credentials | None:
    """Those of the store in `folder`, where they can be read."""
    try:
        return _read(folder / FILE)
    except (OSError, StoreUnusable):
        return None


def _read(path: Path) -> Credentials:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            os.fchmod(file.fileno(), 0o600)
        text = file.read()
    try:
        told = json.loads(text)
        keys = {role: str(told[role]) for role in (Role.WRITER, Role.CONTENT)}
    except (ValueError, KeyError, TypeError):
        keys = {}
    if not keys or not all(KEY_CHARS_MIN <= len(key) <= KEY_CHARS_MAX for key in keys.values()):
        raise StoreUnusable(f"{str(path)!r} is damaged: remove it, and new credentials are made")
    return Credentials(keys)


def _make(path: Path) -> None:
    """Whole or not at all, and the first of two that race stays."""
    unfinished = path.with_name(f"{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    keys = {role: secrets.token_urlsafe(32) for role in (Role.WRITER, Role.CONTENT)}
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(keys, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(unfinished, path)
        except FileExistsError:
            return
    finally:
        unfinished.unlink(missing_ok=True)


def told(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str, str]:
    """The user and key of a request, in the ways that ClickHouse takes them. Raises NotAllowed for none of these."""
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", ""), headers.get("X-ClickHouse-Key", "")
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, key = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise NotAllowed from None
        return user, key
    if scheme:
        raise NotAllowed
    return query.get("user", ""), query.get("password", "")
