"""The folder of a request is known without running it."""

from __future__ import annotations

import dataclasses

import pytest
from helpers import request

from negprompt import api
from negprompt.errors import DataError, PromptMismatchError

pytestmark = pytest.mark.usefixtures("no_figures")


def test_find_names_the_folders_that_train_makes(icons, tmp_path):
    wanted = request(icons, tmp_path)
    first = wanted.first_stage()
    assert first is not None
    found = [api.find(wanted).path, api.find(first).path]
    assert not list(tmp_path.rglob("*seed*"))
    api.train(wanted)
    assert sorted(found) == sorted(done.parent for done in tmp_path.rglob("DONE"))


def test_what_is_not_at_hand_is_said(icons, tmp_path):
    with pytest.raises(DataError, match=r"data\.num_shots=9"):
        api.find(request(icons, tmp_path, num_shots=9))
    wanted = request(icons, tmp_path)
    named = wanted.method.model_copy(update={"positive_prompts": "gone"})
    with pytest.raises(PromptMismatchError, match="No prompts at gone"):
        api.find(dataclasses.replace(wanted, method=named))
    assert dataclasses.replace(wanted, method=named).first_stage() is None
