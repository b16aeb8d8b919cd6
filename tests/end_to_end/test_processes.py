"""Two and three processes together give the gradients, prompts and scores of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import write_benchmark
from safetensors.torch import load_file
from several_processes import CASES, together

from negprompt import ranks
from negprompt.errors import ConfigError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    root = write_benchmark(folder / "benchmark")
    return together((1, 2, 3), folder, root)


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_a_single_process(found, case, processes):
    one, several = found[1][case], found[processes][case]
    assert float(one.abs().max()) > 0
    assert float((one - several).norm()) < 1e-5 * float(one.norm())


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("method", ["clipn", "zoc"])
def test_gradients_of_what_is_trained_on_captions_are_those_of_a_single_process(found, method, processes):
    one, several = found[1][method], found[processes][method]
    assert one
    assert set(one) == set(several)
    for name, gradient in one.items():
        assert float((gradient - several[name]).norm()) < 1e-4 * float(gradient.norm()), name


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("mode", ["none", "store"])
def test_a_whole_run_ends_with_the_prompts_and_scores_of_a_single_process(found, mode, processes):
    one, several = (Path(found[number]["runs"][mode]) for number in (1, processes))
    assert (several / "DONE").is_file()
    assert one.name == several.name  # the number of processes is not part of the request
    ours, theirs = (load_file(folder / "prompts.safetensors") for folder in (several, one))
    for name, tensor in theirs.items():
        assert float((ours[name] - tensor).norm()) < 1e-4 * float(tensor.norm())
    scores, reference = (np.load(folder / "scores.npz") for folder in (several, one))
    assert set(scores) == set(reference)
    assert all(np.array_equal(scores[key], reference[key]) for key in reference if key.endswith(("key", "label")))
    for key in reference:
        if not key.endswith(("key", "label", "prediction")):  # logits are about 100 times a cosine
            assert np.allclose(scores[key], reference[key], rtol=1e-4, atol=1e-3), key


@pytest.mark.parametrize("processes", [2, 3])
def test_curves_are_those_of_a_single_process(found, processes):
    one, several = (
        np.genfromtxt(Path(found[number]["runs"]["none"]) / "metrics.csv", delimiter=",", names=True)
        for number in (1, processes)
    )
    assert one.dtype.names == several.dtype.names
    for column in one.dtype.names:
        assert np.allclose(one[column], several[column], rtol=1e-4, atol=1e-6), column


def test_more_devices_than_processes_are_refused_with_the_command_to_use():
    with pytest.raises(ConfigError, match=r"trainer\.devices=2.*torchrun --nproc-per-node=2"):
        ranks.join(2, on_gpu=False)
