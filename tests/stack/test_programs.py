"""What the stack starts its processes with."""

from __future__ import annotations

from pathlib import Path

from tandem.stack import Counts, Models, Plan
from tandem.stack.programs import ServiceProgram, model_programs


def flags_of(program: ServiceProgram) -> dict[str, str]:
    _, _, _, *flags = program.command(None)
    return dict(zip(flags[::2], flags[1::2], strict=True))


def test_targets_over_several_ranks_are_asked_of_verify_services_and_share_the_cores(tmp_path: Path) -> None:
    plan = Plan(Models(target="T", draft="D", parallelism=4), Counts(drafts=1, verifies=2))
    programs = {program.name: flags_of(program) for program in model_programs(plan, tmp_path)}
    assert [programs[name].get("--parallelism") for name in ("verify-1", "verify-2", "draft")] == ["4", "4", None]
    assert len({flags["--threads"] for flags in programs.values()}) == 1
    one = flags_of(model_programs(Plan(Models(target="T")), tmp_path)[0])
    assert "--parallelism" not in one
    assert int(programs["draft"]["--threads"]) <= int(one["--threads"])


def test_compiling_is_asked_of_both_that_run_models(tmp_path: Path) -> None:
    for compile in (False, True):
        plan = Plan(Models(target="T", draft="D", compile=compile))
        commands = {program.name: program.command(None) for program in model_programs(plan, tmp_path)}
        assert {name: "--compile" in command for name, command in commands.items()} == {
            "verify": compile,
            "draft": compile,
        }
