"""What a GPU would be made to wait for, and tensors of two devices in one operation: looked for without a GPU.

Meta tensors stand for a GPU's: they have a device of their own and no numbers, so that whatever reads one is seen.
"""

import math

import pytest
import torch
from torch import Tensor
from torch.ops import aten
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ncore.network.measuring import NetworkMeasurer
from ncore.network.run import LOOK_STEPS_ON_GPU, NetworkRun
from ncore.presets import PRESETS
from ncore.spec import parse_spec, with_changes
from ncore.ufm.run import CHUNK, UfmRun

OF_A_CLASS, CLASSES, BATCH = 30, 10, 12
EPOCH_STEPS = OF_A_CLASS * CLASSES // BATCH
BODY = {
    "model": {"kind": "convnet", "channels": [4, 8], "head_layers": 1},
    "data": {"name": "synthetic", "samples_per_class": OF_A_CLASS, "image_size": 8, "augment": True},
    "optimizer": {"epochs": 2, "batch_size": BATCH},
    "device": "cpu",
}
NETWORKS = {
    "convnet": {},
    "resnet": {"model": {"kind": "resnet", "stem": "imagenet"}, "data.image_size": 32},
    "mlp, mse": {"model": {"kind": "mlp", "widths": [9]}, "loss": "mse", "optimizer.nesterov": True},
    "fixed etf": {"model": {"kind": "convnet", "channels": [16], "fixed_etf": True, "bias": False}},
}


class Gpu(TorchDispatchMode):
    """Refuses operations on tensors of two devices; counts what waits for the device: reads, and copies to it."""

    def __init__(self, of_a_class: int = OF_A_CLASS) -> None:
        super().__init__()
        self.reads = self.copies = 0
        self.of_a_class = of_a_class  # what is read where it is not one number: the sizes of the classes

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {t.device.type for t in tensors if t.ndim}  # a CPU's number goes along as an argument
        if function is aten._local_scalar_dense.default and tensors[0].is_meta:
            self.reads += 1
            return 1.0  # finite, and true
        if function is aten.bincount.default and tensors[0].is_meta:  # without a meta kernel; a GPU's reads the largest
            self.reads += 1
            return tensors[0].new_empty(kwargs.get("minlength") or args[2])
        if function is aten.nonzero.default and tensors[0].is_meta:  # how many there are is read; here there are none
            self.reads += 1
            return tensors[0].new_empty((0, tensors[0].ndim), dtype=torch.int64)
        if function in (aten._to_copy.default, aten.copy_.default):
            to = torch.device(kwargs.get("device") or tensors[0].device).type
            if to == "cpu" and "meta" in {t.device.type for t in tensors}:
                self.reads += 1
                return torch.full(tensors[0].shape, self.of_a_class, dtype=kwargs.get("dtype") or tensors[0].dtype)
            self.copies += to == "meta" and "cpu" in {t.device.type for t in tensors}
        else:
            assert len(devices) < 2, f"{function} of tensors on {devices}"
        if function is aten._fused_sgd_.default:  # without a meta kernel too
            return None
        return function(*args, **kwargs)


def started(name: str, checkpoint=None, images: int = OF_A_CLASS) -> NetworkRun:
    spec = parse_spec(with_changes(BODY, {**NETWORKS[name], "data.samples_per_class": images}))
    run = NetworkRun(spec, "meta", checkpoint, None)
    run._optimizer._need_device_dtype_check_for_fused = False
    run.device = "cuda:0"  # what is decided by its name from here on
    return run


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_on_a_gpu_does_not_wait_for_it(name):
    run = started(name)
    with Gpu() as gpu:
        run.train_step()  # an epoch's order is drawn on the CPU and goes to the device once
        assert gpu.copies <= 3
        gpu.copies = 0
        for step in range(1, EPOCH_STEPS):
            run.train_step(noted=step % 2 == 0)
    assert (gpu.reads, gpu.copies) == (0, 0)


def test_between_two_looks_at_the_loss_nothing_is_read():
    run = started("convnet")
    with Gpu() as gpu:
        run._train(2 * EPOCH_STEPS, math.inf)
    assert run.step == 2 * EPOCH_STEPS
    assert gpu.reads == math.ceil(2 * EPOCH_STEPS / LOOK_STEPS_ON_GPU)


def looks_of_a_measurement(name: str, kept_features_bytes: int, images: int) -> tuple[int, int]:
    """How often a measurement waits for the GPU, on as many images of each class, and in how many pieces it is cut."""
    run = started(name, images=images)
    run._measurer = NetworkMeasurer(run.spec, run._data, run._targets, kept_features_bytes)
    with Gpu(images) as gpu:
        run.train_step(noted=True)
        gpu.reads = gpu.copies = 0
        pieces = 1
        while not run._measure(0):
            pieces += 1
    assert gpu.copies == 0
    return gpu.reads, pieces


@pytest.mark.parametrize("kept_features_bytes", [2**31, 0], ids=["kept", "sums"])
@pytest.mark.parametrize("name", NETWORKS)
def test_more_images_make_a_gpu_wait_at_most_once_a_piece_more(name, kept_features_bytes):
    """nc4 asks of each piece whether all samples are decided; all else is asked once, however many there are."""
    (few, pieces), (many, more) = (
        looks_of_a_measurement(name, kept_features_bytes, images) for images in (OF_A_CLASS, 3 * OF_A_CLASS)
    )
    assert few <= many <= few + more - pieces
    assert few <= 20


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")  # they have no numbers
def test_a_checkpoint_goes_to_the_gpu_and_comes_back():
    cpu = NetworkRun(parse_spec(with_changes(BODY, NETWORKS["resnet"])), "cpu", None, None)
    cpu.train_step(noted=True)
    checkpoint = cpu.checkpoint()
    with Gpu():
        run = started("resnet", checkpoint)
        run.train_step(noted=True)
        again = run.checkpoint()
        final = run.final_state()
    assert {n: t.shape for n, t in again.items()} == {n: t.shape for n, t in checkpoint.items()}
    assert all(t.device.type == "cpu" for t in (*again.values(), *final.values()))


@pytest.mark.parametrize("name", ["fig1", "fig2", "fig4"])
@torch.no_grad()
def test_steps_of_a_ufm_wait_for_a_gpu_once_a_chunk(name):
    spec = parse_spec({**PRESETS[name].spec, "seeds": [0, 1]})
    with Gpu() as gpu:
        run = UfmRun([(spec, seed) for seed in spec.seeds], "meta")
        gpu.reads = gpu.copies = 0
        run._train(CHUNK)
        assert (gpu.reads, gpu.copies) == (1, 0)
        run._measurer.take(0)
        run._measurer.measure()
    assert (gpu.reads, gpu.copies) == (1, 0)


def test_what_is_looked_for_is_seen():
    a, b = torch.ones(3, device="meta"), torch.ones(3)
    with Gpu() as gpu:
        for mixed in (lambda: a @ b, lambda: a + b, lambda: a[b.long()], lambda: torch.where(b > 0, b, a)):
            with pytest.raises(AssertionError, match="of tensors on"):
                mixed()
        for i, read in enumerate((a.tolist, a.cpu, lambda: float(a.sum()), lambda: bool((a > 0).all()))):
            read()
            assert gpu.reads == i + 1
        for i, copy in enumerate((lambda: b.to("meta"), lambda: a.copy_(b))):
            copy()
            assert gpu.copies == i + 1
