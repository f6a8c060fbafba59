"""Flags before variables before defaults; whatever means nothing is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from tandem.errors import InvalidArgument
from tandem.settings import Addresses, ServiceSettings


class Settings(ServiceSettings):
    """Settings of a made-up verify service."""

    role: ClassVar[str] = "verify"
    kv_blocks: int = Field(0, ge=0, description="KV blocks")
    verify: Addresses = Field((), description="replicas")
    warm: bool = Field(True, description="warm up")


def test_flags_come_before_variables_before_defaults() -> None:
    environ = {"TANDEM_VERIFY_KV_BLOCKS": "5", "TANDEM_VERIFY_PORT": "7", "HOME": "/"}
    settings = Settings.load(["--kv-blocks", "9", "--ready-file", "/tmp/x", "--verify", "a:1, b:2"], environ)
    assert (settings.kv_blocks, settings.port, settings.metrics_port) == (9, 7, 0)
    assert settings.ready_file == Path("/tmp/x")
    assert settings.verify == ("a:1", "b:2")


def test_yes_or_no() -> None:
    assert Settings.load([], {}).warm
    assert not Settings.load(["--no-warm"], {}).warm
    assert not Settings.load([], {"TANDEM_VERIFY_WARM": "false"}).warm


def test_what_all_roles_share_may_be_given_once() -> None:
    shared = {"TANDEM_LOG_LEVEL": "debug"}
    assert Settings.load([], shared).log_level == "debug"
    assert Settings.load([], {**shared, "TANDEM_VERIFY_LOG_LEVEL": "error"}).log_level == "error"


def test_other_roles_variables_pass() -> None:
    assert Settings.load([], {"TANDEM_DRAFT_ANYTHING": "1", "TANDEM_ORCHESTRATOR_PORT": "x"}).port == 0


@pytest.mark.parametrize("name", ["TANDEM_VERIFY_KV_BLOKS", "TANDEM_PORT", "TANDEM_VERIFIER_PORT"])
def test_a_variable_that_means_nothing_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidArgument, match=name):
        Settings.load([], {name: "1"})


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--kv-bloks", "1"], "--kv-bloks"),
        (["--kv", "1"], "--kv"),
        (["--port", "70000"], "--port"),
        (["--kv-blocks", "-1"], "--kv-blocks"),
        (["--log-level", "loud"], "--log-level"),
        (["stray"], "stray"),
    ],
)
def test_a_flag_that_is_wrong_is_named(flags: list[str], expected: str) -> None:
    with pytest.raises(InvalidArgument, match=expected):
        Settings.load(flags, {})


def test_settings_do_not_change() -> None:
    settings = Settings.load([], {})
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
