"""What the environment sets, read once at the start: a wrong value is a `SettingsError`, and opens nothing."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?")


class SettingsError(ValueError):
    """An environment variable has a value that means nothing."""

    def __init__(self, name: str, expected: str, found: str) -> None:
        super().__init__(f"Expected {name} to be {expected}, found {found!r}.")


@dataclass(frozen=True)
class Policy:
    """Whether and from where images are fetched, and how the service introduces itself there."""

    enabled: bool = True
    hosts: tuple[str, ...] = ()  # empty: any; one that starts with a dot takes in everything under it
    user_agent: str = "scene-classifier"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Policy":
        """Reads `FETCH_URLS` (`on` or `off`), `FETCH_HOSTS` (comma-separated) and `FETCH_USER_AGENT`."""
        switch = environment.get("FETCH_URLS", "on")
        if switch.strip().lower() not in ("on", "off"):
            raise SettingsError("FETCH_URLS", "'on' or 'off'", switch)
        user_agent = environment.get("FETCH_USER_AGENT", "").strip()
        if len(user_agent) > 256 or not (user_agent.isascii() and user_agent.isprintable()):
            raise SettingsError("FETCH_USER_AGENT", "up to 256 printable ASCII characters", user_agent)
        hosts = _hosts(environment.get("FETCH_HOSTS", ""))
        return cls(switch.strip().lower() == "on", hosts, user_agent or cls.user_agent)

    def allows(self, host: str) -> bool:
        """Whether the list of hosts lets this one through."""
        return not self.hosts or any(
            f".{host}".endswith(entry) if entry.startswith(".") else host == entry for entry in self.hosts
        )


def cors_origin(environment: Mapping[str, str] = os.environ) -> str:
    """Whose pages may call, from `CORS_ORIGIN`: any by default (no cookie is involved), none if it is empty."""
    origin = environment.get("CORS_ORIGIN", "*").strip()
    if origin not in ("", "*") and not _ORIGIN.fullmatch(origin):
        raise SettingsError("CORS_ORIGIN", "'*', empty, or one origin like 'https://photos.example'", origin)
    return origin


def memory_mb(environment: Mapping[str, str] = os.environ) -> int | None:
    """The function's memory in MB, as Lambda says in `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`; None outside Lambda."""
    size = environment.get(name := "AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if size is not None and not re.fullmatch("[1-9][0-9]{0,6}", size):
        raise SettingsError(name, "a whole number of megabytes, or not set", size)
    return None if size is None else int(size)


def ascii_host(name: str) -> str:
    """A host's name as DNS knows it: lower case, other letters as browsers encode them (UTS 46, IDNA 2008).

    Raises:
        ValueError: this is no host's name.
    """
    if not name.isascii() and len(name) <= 253:
        import idna  # late, since few names need its tables

        # Not `idna.encode`, which refuses names that browsers open, like those with an emoji.
        labels = idna.uts46_remap(name, std3_rules=False, transitional=False).split(".")
        name = ".".join(
            label if label.isascii() or len(label) > 63 else f"xn--{label.encode('punycode').decode()}"
            for label in labels
        )
    name = name.lower().removesuffix(".")
    if len(name) > 253 or not _HOST.fullmatch(name):
        raise ValueError(f"{name!r} is no host's name")
    return name


def _hosts(listed: str) -> tuple[str, ...]:
    """The entries of `FETCH_HOSTS`; a list that was set must name something, or it would let everything through."""
    entries = [entry.strip() for entry in listed.split(",") if entry.strip()]
    try:
        hosts = tuple("." * entry.startswith(".") + ascii_host(entry.removeprefix(".")) for entry in entries)
    except ValueError:
        hosts = ()
    if listed and not hosts:
        expected = "host names like 'photos.example, .example.org' (a leading dot takes in subdomains; no scheme, port "
        raise SettingsError("FETCH_HOSTS", f"{expected}or star), or not set for any public host", listed)
    return hosts
