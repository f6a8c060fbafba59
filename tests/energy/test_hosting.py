"""A model on the CPU, hosted: the log says what is measured, or why nothing is."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from tandem.engine.hosting import host_model
from tests.support.energy import PowercapTree


def test_the_log_says_what_is_measured_or_why_nothing_is(tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    tree = PowercapTree(tmp_path / "powercap")
    for measured in (False, True):
        if measured:
            tree.zone("intel-rapl:0", "package-0")
        with capture_logs() as lines:
            hosted = host_model(str(tiny_pair[1]), device="cpu", num_kv_blocks=4, powercap_root=tree.root)
        assert (hosted.meter is not None) == measured
        [line] = [line for line in lines if line["component"] == "tandem.energy"]
        if measured:
            assert (line["event"], line["source"]) == ("energy is measured", "rapl")
        else:
            assert line["event"] == "energy is not measured"
            assert str(tree.root) in line["reason"]
