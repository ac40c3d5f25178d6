"""The networks: live taps equal the plain network, features equal plain hooks, heads, fixed ETF, layers' names."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from ncore.kinds.optimizers import Sgd
from ncore.network.decay import norm_sq
from ncore.network.models import Network, averaged, build, simplex_etf
from ncore.spec import ConvNetModel, MlpModel, ResNetModel, SpecError, parse_spec

MODELS = {
    "resnet18_imagenet": (ResNetModel(stem="imagenet"), 32),
    "resnet18_cifar": (ResNetModel(stem="cifar", bias=False, head_layers=1), 8),
    "resnet50_imagenet": (ResNetModel(depth=50, stem="imagenet"), 16),
    "mlp": (MlpModel(widths=(12, 9), head_layers=1), 8),
    "convnet": (ConvNetModel(channels=(4, 6, 8, 10), head_layers=1, head_activation="identity"), 16),
}


def images(size: int, samples: int = 16) -> torch.Tensor:
    """So many, as batch norm over few values of a 1 × 1 map is too ill-conditioned to compare anything after it."""
    return torch.randn(samples, 1, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


LABELS = torch.arange(16) % 3


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).detach().norm() / expected.detach().norm())


def live_part(whole: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """The taps of a kernel that are left; at stride 2 it is the first that is dead."""
    if whole.shape == part.shape:
        return whole
    size = part.shape[-1]
    first = (whole.shape[-1] - size + 1) // 2
    return whole[:, :, first : first + size, first : first + size]


@pytest.mark.parametrize("products", [False, True], ids=["convolutions", "products"])
@pytest.mark.parametrize("name", MODELS)
def test_live_taps_give_the_plain_networks_outputs_and_gradients(name, products):
    model, size = MODELS[name]
    plain = build(model, 3, 1, size, seed=4, cut_padding_taps=False).double()
    live = build(model, 3, 1, size, seed=4, as_products=products).double()
    logits = []
    for network in (plain, live):
        logits.append(network(images(size)))
        functional.cross_entropy(logits[-1], LABELS).backward()
    assert distance(logits[1], logits[0]) < 1e-12
    grown = dict(plain.named_parameters())
    for key, parameter in live.named_parameters():
        if parameter is not live.dead_scale:
            kept = live_part(grown[key].grad, parameter)
            assert distance(parameter.grad, kept) < 1e-12
            assert grown[key].grad.count_nonzero() == kept.count_nonzero(), key


def test_live_taps_leave_out_most_of_a_resnet_on_small_images():
    count = [
        sum(p.numel() for p in build(ResNetModel(stem="imagenet"), 10, 1, 32, 0, cut_padding_taps=live).parameters())
        for live in (False, True)
    ]
    assert count[0] - count[1] + 1 == 6_946_816
    full = ResNetModel(stem="cifar")
    assert build(full, 10, 1, 32, 0).dead_scale is None


@pytest.mark.parametrize("nesterov", [False, True])
def test_squared_norm_of_all_parameters_follows_the_plain_network_through_training(nesterov):
    model, size = MODELS["resnet18_imagenet"]
    norms = []
    for live in (False, True):
        network = build(model, 3, 1, size, seed=4, cut_padding_taps=live).double()
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=0.1, nesterov=nesterov)
        for i in range(5):
            optimizer.zero_grad()
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + i)
            functional.cross_entropy(network(images(size)), LABELS).backward()
            if network.dead_scale is not None:
                network.dead_scale.grad = torch.zeros_like(network.dead_scale)
            optimizer.step()
        norms.append(float(norm_sq(network, Sgd())))
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_features_are_what_plain_hooks_see(name):
    model, size = MODELS[name]
    network = build(model, 3, 1, size, seed=2).double().eval()
    seen = {}
    for key, module in [*network.stages.items(), *network.head.items()]:
        module.register_forward_hook(lambda _, __, out, key=key: seen.update({key: averaged(out)}))
    found, logits = network.features(images(size))
    assert list(found) == list(network.layers)
    for key, value in found.items():
        assert torch.equal(value, seen[key])
    assert torch.equal(logits, network(images(size)))
    if network.sees_last:
        assert torch.allclose(logits, network.classifier(found[network.layers[-1]]))


def test_resnet_is_torchvisions():
    from torchvision.models import resnet18

    network = build(ResNetModel(stem="imagenet"), 10, 3, 64, 0, cut_padding_taps=False).double().eval()
    theirs = resnet18(num_classes=10).double().eval()
    with torch.no_grad():
        for mine, other in zip(network.parameters(), theirs.parameters(), strict=True):
            other.copy_(mine)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(network(x), theirs(x), rtol=1e-12)


def test_stems_and_depths():
    cifar = build(ResNetModel(stem="cifar"), 10, 1, 32, 0)
    assert cifar.stages["layer1"](torch.zeros(2, 1, 32, 32)).shape == (2, 64, 32, 32)
    imagenet = build(ResNetModel(stem="imagenet"), 10, 1, 32, 0)
    assert imagenet.stages["layer1"](torch.zeros(2, 1, 32, 32)).shape == (2, 64, 8, 8)
    convolutions = sum(isinstance(m, nn.Conv2d) for m in build(ResNetModel(depth=34), 10, 3, 8, 0).modules())
    assert convolutions == 36


def test_the_same_seed_gives_the_same_network_and_leaves_torchs_own_random_numbers_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = (build(ConvNetModel(), 4, 1, 8, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [network.classifier.weight for network in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(("classes", "width"), [(3, 2), (10, 9), (4, 20)])
def test_fixed_etf(classes, width):
    rows = simplex_etf(classes, width).double()
    cosines = rows @ rows.T
    expected = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.float64).fill_diagonal_(1)
    assert torch.allclose(cosines, expected, atol=1e-6)
    with pytest.raises(ValueError, match="fixed_etf"):
        simplex_etf(12, 10)


def test_fixed_etf_is_not_trained_and_not_in_the_norm():
    network = build(MlpModel(widths=(6,), fixed_etf=True, bias=False), 4, 1, 4, 0)
    assert not network.classifier.weight.requires_grad
    assert norm_sq(network, Sgd()) == pytest.approx(
        sum(float(p.double().square().sum()) for p in network.stages.state_dict().values()), rel=1e-6
    )


def head_kinds(network: Network) -> list[str]:
    return [type(module).__name__ for module in network.head.values()]


def test_head_layers_are_linear_or_relu():
    assert head_kinds(build(MlpModel(head_layers=2), 3, 1, 4, 0)) == ["Sequential"] * 2
    assert head_kinds(build(MlpModel(head_layers=2, head_activation="identity"), 3, 1, 4, 0)) == ["Linear"] * 2


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ({"kind": "mlp", "widths": [4, 4], "layers": ["hidden3"]}, "model.layers"),
        ({"kind": "resnet", "layers": ["layer4", "head1"]}, "model.layers"),
        ({"kind": "convnet", "layers": []}, "model.layers"),
    ],
)
def test_layers_that_are_not_there_are_refused(model, field):
    with pytest.raises(SpecError) as refused:
        parse_spec({"model": model, "data": {"name": "digits"}})
    assert [error["field"] for error in refused.value.errors] == [field]
