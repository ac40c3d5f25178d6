"""The geometry of a saved state: class means by the slow obvious way, cosines that agree with the measured metrics."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from ncore.geometry import arrays_in, class_means, geometry_of, state_of
from ncore.pictures.files import rendered
from ncore.pictures.geometry import geometry_figure
from ncore.presets import spec_of
from ncore.theory import predict
from ncore.train import begin


def ended(preset, **changes):
    """A run's spec, its last measurements and its final state as arrays."""
    spec = spec_of({"preset": preset, "set": {"seeds": [3, 4], "optimizer.steps": 400, "measure.points": 3, **changes}})
    run = begin(spec)
    measured = []
    while not run.done:
        measured += run.advance()
    return spec, measured, {name: tensor.numpy() for name, tensor in run.final_state().items()}


@pytest.mark.parametrize("preset", ["fig1", "fig3", "fig4"])
def test_the_matrices_are_those_of_the_saved_samples(preset, tmp_path):
    """Plain, linear and ReLU: each sample sent through the layers, and averaged class by class."""
    spec, measured, state = ended(preset)
    save_file({name: np.ascontiguousarray(one) for name, one in state.items()}, tmp_path / "final.safetensors")
    found = geometry_of(spec, state_of(spec, tmp_path / "final.safetensors"), 1, predict(spec).gram or {})
    levels, classes = len(spec.model.widths), spec.model.classes
    assert [one.name for one in found] == [*(f"h{j + 1}" for j in range(levels)), "W", "W H"]
    samples, labels = state["H"][1], state["labels"][1]
    if samples.shape[1] < sum(spec.model.class_sizes):
        pytest.skip("the state holds no samples")
    for j in range(levels):
        if j:
            samples = state[f"W_{j}"][1] @ samples
            samples = np.maximum(samples, 0) if spec.model.activation == "relu" else samples
        means = np.stack([samples[:, labels == k].mean(axis=1) for k in range(classes)], axis=1)
        assert np.allclose(found[j].gram, means.T @ means, rtol=1e-9, atol=1e-12)
        norms = np.mean(np.square(np.linalg.norm(means, axis=0)))
        last = [one for one in measured if one.seed == 4][-1]
        assert last.values["feature_norm_sq", f"h{j + 1}"] == pytest.approx(norms, rel=1e-9)
    assert np.allclose(found[-1].gram, state[f"W_{levels}"][1] @ means, rtol=1e-9)


def test_a_zero_mean_has_no_cosine_and_samples_that_are_left_out_leave_out_what_needs_them():
    spec, _, state = ended("fig4")
    state = {name: one.copy() for name, one in state.items()}
    state["class_means"][0, :, 1] = 0
    state["H"] = state["H"][:, :, :3]
    assert list(class_means(spec, state, 0)) == ["h1"]
    first, weights = geometry_of(spec, state, 0, {"h1": [[1.0] * 4] * 4})
    assert first.cosines[1][0] is None
    assert weights.name == "W"
    assert first.predicted is not None
    assert rendered(geometry_figure([first, weights], "λ_W"), "svg").startswith(b"<svg")


def test_a_file_that_is_none_is_refused(tmp_path):
    for content in (b"", b"\xff" * 40, b"\x05\0\0\0\0\0\0\0[1,2]"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises((ValueError, AttributeError)):
            arrays_in(tmp_path / "x", {"H"})
