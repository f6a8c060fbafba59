"""API keys and the lines that stand for them."""

from __future__ import annotations

import hashlib

import pytest

from tandem.api_keys import KeyEntry, digest_of, line_of, new_key, read_entries
from tandem.errors import InvalidArgument

DIGEST = "sha256:" + "ab" * 32


def test_a_line_knows_its_key_and_does_not_hold_it() -> None:
    key = new_key()
    line = line_of("alice", key)
    assert key not in line
    (entry,) = read_entries(line)
    assert entry == KeyEntry("alice", digest_of(key))
    assert entry.digest == hashlib.sha256(key.encode()).digest()


def test_no_two_keys_are_the_same() -> None:
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(len(key) == len("tandem-") + 43 for key in keys)


def test_lines_say_what_their_principal_may() -> None:
    text = f"""# keys
    alice {DIGEST}  max_sessions=4 requests_per_minute=60   # of the web shop

    ops {DIGEST.replace("ab", "cd")} operator
    alice {DIGEST.replace("ab", "ef")}
    """
    first, ops, second = read_entries(text)
    assert (first.name, first.max_sessions, first.requests_per_minute, first.is_operator) == ("alice", 4, 60, False)
    assert ops.is_operator
    assert (second.name, second.max_sessions) == ("alice", None)


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        "alice tandem-secret",
        f"{DIGEST}",
        f"al:ice {DIGEST}",
        f"{'a' * 65} {DIGEST}",
        f"alice {DIGEST[:-1]}",
        f"alice {DIGEST} max_sessions=0",
        f"alice {DIGEST} max_sessions=many",
        f"alice {DIGEST} max_session=1",
        f"alice {DIGEST} operator=1",
    ],
)
def test_a_line_of_another_form_is_named_by_its_number_and_never_quoted(line: str) -> None:
    with pytest.raises(InvalidArgument, match="line 2 of the key file") as caught:
        read_entries(f"\n{line}\n")
    assert not any(word in str(caught.value) for word in ("secret", "alice", "ab" * 31))


def test_one_key_stands_there_once() -> None:
    with pytest.raises(InvalidArgument, match="twice"):
        read_entries(f"alice {DIGEST}\nbob {DIGEST}")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", "ä", "x" * 65, "a\nb"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(InvalidArgument, match="name"):
        line_of(name, new_key())
