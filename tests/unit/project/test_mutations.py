"""Each text that scripts/mutate.py replaces occurs exactly once in its file."""

from __future__ import annotations

import pytest

from scripts.mutate import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[each.name for each in MUTATIONS])
def test_each_mutation_has_one_place(mutation: Mutation) -> None:
    text = (ROOT / "kplpy/core" / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
    assert not mutation.tests or (ROOT / mutation.tests.split("::")[0]).exists()
