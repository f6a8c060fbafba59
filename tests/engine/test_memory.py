"""What is really free, by whatever the machine and its control groups say, and the pool that is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tandem.engine.families import attention_shape
from tandem.engine.hosting import BLOCK_SIZE, host_model
from tandem.engine.memory import MAX_FULL_SEQUENCES, MEMORY_SHARE, RESERVED_BYTES, free_memory, pool_size
from tandem.engine.warm_up import run_largest_pass
from tandem.errors import InvalidArgument
from tandem.settings import ModelSettings
from tests.engine.conftest import built
from tests.engine.tiny_models import Tiny

GIB = 1 << 30


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, content in {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {8 << 20} kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def limited(group: str, limit: int | str, used: int, cached: int = 0) -> dict[str, str]:
    folder = f"sys/fs/cgroup/{group}".rstrip("/")
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 1\ninactive_file {cached}\n",
    }


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 8 * GIB),
        (limited("", 4 * GIB, GIB), 3 * GIB),
        (limited("", "max", GIB), 8 * GIB),
        (limited("", 4 * GIB, 3 * GIB, cached=2 * GIB), 3 * GIB),  # weights just read are only files in memory
        (limited("", 64 * GIB, GIB), 8 * GIB),
        (limited("", GIB, 2 * GIB), 0),
        ({"proc/self/cgroup": "0::/a/b\n", **limited("a", 2 * GIB, GIB), **limited("a/b", 4 * GIB, GIB)}, GIB),
        ({"proc/self/cgroup": "0::/pod/of/the/host\n", **limited("", 3 * GIB, GIB)}, 2 * GIB),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GIB}",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{2 * GIB}",
                "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {GIB}",
            },
            3 * GIB,
        ),
    ],
)
def test_what_is_free_is_the_least_that_anybody_allows(tmp_path: Path, files: dict[str, str], free: int) -> None:
    assert free_memory(machine(tmp_path, files)) == free


def test_settings_and_hosts_agree_on_the_share() -> None:
    assert ModelSettings.model_fields["kv_memory_share"].default == MEMORY_SHARE


def test_this_machine_has_some() -> None:
    assert 0 < free_memory() < 1 << 50


def test_a_pool_takes_its_share_beside_what_is_reserved() -> None:
    free = RESERVED_BYTES + 1000 * 64
    assert pool_size(free, 64, num_blocks=0, share=0.25, max_blocks=10_000).num_blocks == 250
    assert pool_size(free, 64, num_blocks=0, share=0.9, max_blocks=10_000).num_bytes == 900 * 64
    assert pool_size(free, 64, num_blocks=0, share=0.9, max_blocks=70).num_blocks == 70
    assert pool_size(free, 64, num_blocks=1001, share=0.25, max_blocks=70).num_blocks == 1001
    assert pool_size(1000, 64, num_blocks=0, share=0.25, max_blocks=70).num_blocks == 1
    for num_blocks, little in ((100, 6399), (0, 63)):
        with pytest.raises(InvalidArgument, match="are free beside the weights"):
            pool_size(little, 64, num_blocks=num_blocks, share=0.25, max_blocks=70)


def test_a_host_says_what_it_takes(tiny_pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    hosted = host_model(str(tiny_pair[0]), device="cpu", num_threads=1)
    said = capsys.readouterr()
    told = (said.out + said.err).split("memory ", 1)[1].splitlines()[0]
    assert f"num_kv_slots={hosted.num_kv_slots}" in told
    assert "weights_mib=" in told
    assert "kv_pool_mib=" in told
    full = -(-hosted.max_positions // BLOCK_SIZE) * BLOCK_SIZE
    assert hosted.num_kv_slots <= MAX_FULL_SEQUENCES * full
    assert "num_full_texts=" in told


def test_weights_are_counted_once(each_model: Tiny) -> None:
    plain = each_model.plain
    counted = {tensor.data_ptr(): tensor.nbytes for tensor in (*plain.parameters(), *plain.buffers())}
    assert each_model.loaded.num_weight_bytes == sum(counted.values())


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2-windows-in-some-layers"])
def test_the_largest_pass_runs_and_leaves_nothing(name: str) -> None:
    model = built(name).loaded.model
    run_largest_pass(model, attention_shape(model.config), BLOCK_SIZE)
