"""Objects of the Kubernetes API, listed and watched from a thread of its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from tandem.telemetry import logger

Objects = Mapping[str, Mapping[str, Any]]
"""By name, as the API's JSON has them: the client's own classes refuse lists that are null, as empty ones are."""

CALL_SECONDS: Final = 10.0
WATCH_SECONDS: Final = 60
"""After which the server ends a watch: a connection that died unseen is found out no later than shortly after."""

FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.1, 5.0

_GONE: Final = 410


class Listing:
    """Keeps up with the objects that one call lists. The thread runs from `start` until soon after `stop`."""

    def __init__(self, what: str, call: Callable[..., Any], tell: Callable[[Objects], None]) -> None:
        """``call``: a list call of the `kubernetes` client, its own arguments filled in. ``what``: for messages.

        ``tell`` is called in the thread, with all objects there are, first once they are known.
        """
        self.trouble = "the API server has not answered yet"
        """Why what was told last may be out of date; empty where it is not."""
        self._what = what
        self._call = call
        self._tell = tell
        self._objects: dict[str, Mapping[str, Any]] = {}
        self._stopped = threading.Event()
        self._log = logger("orchestrator.discovery").bind(source=what)

    def start(self) -> None:
        """Starts the thread. It is a daemon: one that reads from a silent server keeps no process from its end."""
        threading.Thread(target=self._run, name=f"watch of {self._what}", daemon=True).start()

    def stop(self) -> None:
        """Has nothing be told any more; the thread ends with what it is reading."""
        self._stopped.set()

    def _run(self) -> None:
        version = ""
        backoff = FIRST_BACKOFF_SECONDS
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                version = self._watch(version or self._list())
            except (ApiException, HTTPError, OSError, ValueError, KeyError) as error:
                if self._stopped.is_set():
                    return
                version = ""
                self._note(error)
                if time.monotonic() > began + LAST_BACKOFF_SECONDS:
                    backoff = FIRST_BACKOFF_SECONDS
                self._stopped.wait(backoff)
                backoff = min(2 * backoff, LAST_BACKOFF_SECONDS)
            else:
                backoff = FIRST_BACKOFF_SECONDS

    def _list(self) -> str:
        """Takes in all objects; returns the version from which to watch."""
        answer = self._call(_preload_content=False, _request_timeout=CALL_SECONDS)
        found = json.loads(answer.data)
        self._objects = {item["metadata"]["name"]: item for item in found["items"] or ()}
        self.trouble = ""
        self._say()
        return str(found["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> str:
        """Takes in changes until the server ends the watch; returns the version from which to go on.

        Empty: from a new list, because what lies between is forgotten there.
        """
        answer = self._call(
            watch=True,
            resource_version=version,
            allow_watch_bookmarks=True,
            timeout_seconds=WATCH_SECONDS,
            _preload_content=False,
            _request_timeout=(CALL_SECONDS, WATCH_SECONDS + CALL_SECONDS),
        )
        try:
            for event in _events(answer):
                if self._stopped.is_set():
                    break
                found = event["object"]
                if event["type"] == "ERROR":
                    if found.get("code") == _GONE:
                        return ""
                    raise ValueError(found.get("message") or "the watch failed")
                version = str(found["metadata"]["resourceVersion"])
                if event["type"] == "BOOKMARK":
                    continue
                name = found["metadata"]["name"]
                if event["type"] == "DELETED":
                    self._objects.pop(name, None)
                else:
                    self._objects[name] = found
                self._say()
        finally:
            answer.close()
        return version

    def _say(self) -> None:
        if not self._stopped.is_set():
            self._tell(dict(self._objects))

    def _note(self, error: Exception) -> None:
        if isinstance(error, ApiException) and error.status:
            reason = f"the API server answers {error.status} {error.reason}"
            if error.status in (401, 403):
                reason += f"; may this service account list and watch {self._what}?"
        else:
            reason = f"the API server does not answer: {type(error).__name__}: {error}"
        if reason != self.trouble:
            self._log.warning("what is known of Kubernetes may be out of date", reason=reason)
        self.trouble = reason


def _events(answer: Any) -> Iterator[Any]:
    """The events of a watch: a JSON object a line."""
    rest = b""
    for chunk in answer.stream(amt=None, decode_content=False):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
