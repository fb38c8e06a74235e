"""The command `tenor` as it is in an image: packages that are not in it cannot be imported.

python -m tests.image_packages gateway topics      # the image, and the command
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from types import ModuleType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deployment import names


class Absent:
    """Finds nothing of what is not there (as an entry of `sys.meta_path`)."""

    def __init__(self, modules: set[str]) -> None:
        self._modules = modules

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ModuleNotFoundError for them, and leaves the rest to others."""
        if name.partition(".")[0] in self._modules:
            raise ModuleNotFoundError(f"{name} is not in this image", name=name)
        return None


def absent(image: str) -> set[str]:
    """The installed modules that an image has not: all that nobody on its list needs, or those
    that are on the worker's list of what is left out."""
    modules = packages_distributions()
    if image == "worker":
        out = set(names("not-in-worker.txt"))
        return {name for name, of in modules.items() if {*map(canonicalize_name, of)} <= out}
    there = {"tenor"} | with_what_they_need(names("gateway.txt"))
    return {name for name, of in modules.items() if not {*map(canonicalize_name, of)} & there}


def with_what_they_need(packages: list[str]) -> set[str]:
    """These packages and all that an installer would bring with them."""
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        if (name := canonicalize_name(waiting.pop())) in found:
            continue
        found.add(name)
        try:
            needed = map(Requirement, requires(name) or ())
        except PackageNotFoundError:
            continue  # of another system
        waiting += [
            each.name
            for each in needed
            if each.marker is None or each.marker.evaluate({"extra": ""})
        ]
    return found


if __name__ == "__main__":
    sys.meta_path.insert(0, Absent(absent(sys.argv.pop(1))))
    from streams.cli import main

    main()
