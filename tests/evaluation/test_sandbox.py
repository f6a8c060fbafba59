"""Programs that misbehave, and what becomes of them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psutil
import pytest

from tandem.errors import Unavailable
from tandem.evaluation.tasks import sandbox
from tandem.evaluation.tasks.sandbox import SandboxLimits, run_sandboxed

WRITE_EVERYWHERE = """
import contextlib, os
for fd in range(3, 64):
    with contextlib.suppress(OSError):
        os.write(fd, b"passed\\n" * 99)
"""


def verdict(*parts: str, **limits: float) -> str:
    return run_sandboxed(parts, SandboxLimits(**limits)).verdict  # type: ignore[arg-type]


@pytest.fixture
def isolated() -> None:
    if not run_sandboxed(["pass"]).isolated:
        pytest.skip("this system gives no namespaces")


def test_parts_run_in_one_module() -> None:
    assert verdict("def f(): return 2", "import dataclasses\nassert f() == 2") == "passed"


@pytest.mark.parametrize(
    "program",
    ["assert False", "1 +", "x = '''", "raise KeyboardInterrupt", "import numpy", "x = '\\ud800'.encode()"],
)
def test_what_raises_has_failed(program: str) -> None:
    assert verdict(program, "pass") == "failed"


@pytest.mark.parametrize(
    "program",
    [
        "import os; os._exit(0)",
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "x = '''",  # would swallow the tests up to their own quotes
        WRITE_EVERYWHERE,
        "import os\nos.closerange(3, 64)",
    ],
)
def test_leaving_early_is_not_passing(program: str) -> None:
    assert verdict(program, "y = '''tests'''\nassert False") == "failed"


def test_a_flood_on_the_report_is_not_read_for_long() -> None:
    flood = "while True:" + WRITE_EVERYWHERE.replace("\n", "\n    ")
    started = time.monotonic()
    assert verdict(flood, wall_seconds=20) == "failed"
    assert time.monotonic() - started < 10


def test_a_loop_without_end_is_stopped_by_the_clock() -> None:
    started = time.monotonic()
    assert verdict("while True: pass", wall_seconds=1) == "timed out"
    assert verdict("import time; time.sleep(60)", wall_seconds=1) == "timed out"
    assert time.monotonic() - started < 10


def test_processor_time_is_limited() -> None:
    assert verdict("while True: pass", wall_seconds=60, cpu_seconds=1) == "failed"


@pytest.mark.parametrize("program", ["bytearray(8 << 30)", "x = []\nwhile True: x.append(bytearray(1 << 20))"])
def test_memory_is_limited(program: str) -> None:
    assert verdict(program, memory_bytes=256 << 20) == "failed"


@pytest.mark.parametrize(
    "program",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess, sys\nwhile True: subprocess.Popen([sys.executable])",
        "import multiprocessing\nmultiprocessing.get_context('fork').Process(target=print).start()",
        "import os\nwhile True: os.posix_spawn('/bin/true', ['true'], {})",
    ],
)
def test_no_process_is_started(program: str) -> None:
    started = time.monotonic()
    assert verdict(program, wall_seconds=20) == "failed"
    assert time.monotonic() - started < 10


def test_threads_are_allowed() -> None:
    program = "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()"
    assert verdict(program) == "passed"


def test_output_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys\nfor _ in range(2000):\n    print('x' * 100_000)\n    print('x' * 100_000, file=sys.stderr)"
    assert verdict(program) == "passed"
    assert capfd.readouterr() == ("", "")


def test_environment_arguments_and_input_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    # Python itself sets LC_CTYPE where there is no locale.
    assert verdict("import os\nassert set(os.environ) <= {'LC_CTYPE'}, os.environ") == "passed"
    assert verdict("import sys\nassert sys.stdin.read() == ''") == "passed"
    assert verdict("import tandem") == "failed"


def test_the_folder_is_empty_writable_and_then_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    program = "import os\nassert os.listdir() == []\nopen('a', 'w').write('x')\nassert open('a').read() == 'x'"
    assert verdict(program) == "passed"
    assert list(tmp_path.iterdir()) == []


def test_files_are_limited() -> None:
    assert verdict("open('a', 'wb').write(bytes(2 << 20))", file_bytes=1 << 20) == "failed"
    assert verdict("files = [open(__import__('os').__file__) for _ in range(100)]") == "failed"


@pytest.mark.usefixtures("isolated")
def test_nothing_outside_of_the_folder_is_written(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    for program in (f"open({str(target)!r}, 'w')", f"import os; os.remove({str(target)!r})"):
        assert verdict(program) == "failed"
    assert target.read_text() == "kept"


@pytest.mark.usefixtures("isolated")
def test_the_network_and_other_processes_are_out_of_sight() -> None:
    assert verdict("import socket\nassert [name for _, name in socket.if_nameindex()] == ['lo']") == "passed"
    assert verdict(f"import os\nos.kill({os.getpid()}, 0)") == "failed"
    assert verdict("import os\nassert os.listdir('/proc') == os.listdir('/dev') == []") == "passed"


def test_nothing_is_left_running() -> None:
    program = "import threading, time\nfor _ in range(4): threading.Thread(target=time.sleep, args=(60,)).start()"
    assert verdict(program) == "passed"
    assert verdict(program + "\nwhile True: pass", wall_seconds=1) == "timed out"
    assert children() == []


def test_a_grandchild_is_killed_with_the_rest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Where the system cannot refuse processes there may be one, which has left the process group at that.
    source = Path(sandbox._CHILD).read_text()
    lax = source.replace("    if not _forbid_processes():", "    if False:")
    assert lax != source
    (tmp_path / "lax.py").write_text(lax)
    monkeypatch.setattr(sandbox, "_CHILD", tmp_path / "lax.py")
    if not run_sandboxed(["pass"]).isolated:
        pytest.skip("without namespaces, a process that leaves the group is out of reach")
    program = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(60)\n    os._exit(0)"
    )
    assert verdict(program) == "passed"
    assert verdict("import os\nfor _ in range(6): os.fork()\nwhile True: pass", wall_seconds=1) == "timed out"
    assert children() == []


def children() -> list[list[str]]:
    """The sandboxes that still run, after a moment for the system to clear up."""
    deadline = time.monotonic() + 5
    found = [["not looked yet"]]
    while found and time.monotonic() < deadline:
        time.sleep(0.05)
        running = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        found = [line for line in running if str(sandbox._CHILD) in line]
    return found


def test_it_works_in_threads() -> None:
    verdicts: list[str] = []
    threads = [threading.Thread(target=lambda: verdicts.append(verdict("assert True"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == ["passed"] * 4


def test_a_sandbox_that_does_not_start_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("raise OSError('no room')")
    monkeypatch.setattr(sandbox, "_CHILD", tmp_path / "broken.py")
    with pytest.raises(Unavailable, match=r"(?s)did not start, so none was run: .*no room"):
        run_sandboxed(["pass"])
