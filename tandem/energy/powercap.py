"""Energy of all processor packages, from the kernel's powercap files (RAPL).

A zone ``intel-rapl:N`` counts microjoules in ``energy_uj`` and starts again from 0 past ``max_energy_range_uj``; AMD's
processors have the same names. Source: Documentation/power/powercap/powercap.rst of the Linux kernel.
"""

from __future__ import annotations

from pathlib import Path

from tandem.energy.counter import NotMeasured

POWERCAP_ROOT = Path("/sys/class/powercap")


class Packages:
    """Joules of all packages since this was made.

    It must be read at least once a wrap-around, which is minutes on a busy server: a second one would go unnoticed.
    """

    def __init__(self, root: Path = POWERCAP_ROOT) -> None:
        """Raises: NotMeasured, for no package, or one that cannot be read: part of the energy is no figure."""
        # Beside the packages stand their parts, intel-rapl:N:M, and psys, the whole platform: they would count twice.
        zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if _read(zone / "name").startswith("package")]
        self._packages = [_Package(zone) for zone in zones]
        if not self._packages:
            raise NotMeasured(f"{root} has no package of a processor (intel-rapl:0 and so on)")

    def joules(self) -> float:
        """Raises: NotMeasured."""
        return sum(package.microjoules() for package in self._packages) / 1e6


class _Package:
    def __init__(self, zone: Path) -> None:
        self._file = zone / "energy_uj"
        self._range = _number(zone / "max_energy_range_uj")
        if self._range < 1:
            raise NotMeasured(f"{zone} does not say where its counter starts again")
        self._last = _number(self._file)
        self._total = 0

    def microjoules(self) -> int:
        """Since this was made."""
        now = _number(self._file)
        self._total += (now - self._last) % self._range
        self._last = now
        return self._total


def _number(path: Path) -> int:
    text = _read(path)
    try:
        return int(text)
    except ValueError:
        raise NotMeasured(f"{path} holds {text[:20]!r}; expected a number") from None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except PermissionError:
        raise NotMeasured(f"{path} may not be read by this user; docs/energy.md says how to allow it") from None
    except (OSError, ValueError) as error:
        raise NotMeasured(f"{path} cannot be read: {error}") from None
