"""Addresses as they may be shown: without the passwords and tokens that let someone in."""

import hashlib
import re
from pathlib import PurePosixPath

# A Path makes one slash of two; a scheme of one letter is a drive of Windows.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+")
_ADDRESS = re.compile(_SCHEME.pattern + r"[^\s\"'<>]*[^\s\"'<>:;,.)]")  # what closes the sentence is no part of it
HIDDEN = "***"


def is_address(value: object) -> bool:
    """Whether it is text that names something on a network."""
    return isinstance(value, str) and "://" in value


def showable(address: str) -> str:
    """The address for messages, manifests and exports.

    User name and password are left out, and the value of every part of the query is `HIDDEN`, since what is a token
    there only its server knows. Host, path and the names in the query stay. Text that is no address stays as it is.
    """
    scheme = _SCHEME.match(address)
    if scheme is None:
        return address
    rest = _without_user(address[scheme.end() :]).partition("#")[0]
    place, question, query = rest.partition("?")
    names = [part.partition("=")[0] if "=" in part else "" for part in re.split("[&;]", query)] if query else []
    shown = "&".join(f"{name}={HIDDEN}" if name else HIDDEN for name in names)
    return f"{scheme[0]}{place}{question}{shown}"


def showable_text(text: str) -> str:
    """Any text, a command line or a message, with every address in it made `showable`."""
    return _ADDRESS.sub(lambda found: showable(found[0]), text)


def address_name(address: str) -> str:
    """What to call files made from an address: the last part of its path without suffix, or its host."""
    place = _without_user(address.partition("://")[2])
    path = re.split("[?#;]", place)[0].rstrip("/")
    return PurePosixPath(path).stem or "stream"


def address_digest(address: str) -> str:
    """SHA-256 of the address with its query, without user name and password: tells another address from this one."""
    scheme, _, rest = address.partition("://")
    return hashlib.sha256(f"{scheme.lower()}://{_without_user(rest)}".encode("utf-8", "surrogateescape")).hexdigest()


def _without_user(rest: str) -> str:
    """What comes after ``://`` without ``user:password@``; passwords with unescaped / ? # @ in them are found too."""
    host = re.split("[/?#]", rest)[0]
    if "@" in host:
        return rest[host.rindex("@") + 1 :]
    port = host.rpartition(":")[2] if ":" in host and not host.endswith("]") else ""
    if port and not port.isdecimal() and "@" in rest and not host.startswith("["):
        return rest[rest.rindex("@") + 1 :]
    return rest
