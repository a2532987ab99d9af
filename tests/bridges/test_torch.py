"""PyTorch: the last linear layer found or named, the network left as it was."""

import numpy as np
import pytest

from nc_jax import bridges, metrics

torch = pytest.importorskip("torch", reason="a bridge to PyTorch")
nn = torch.nn

X = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(50) % 3


def network(bias=True, last=None):
    torch.manual_seed(1)
    body = [nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*body, nn.Linear(6, 3, bias=bias), *([last] if last else []))


def loader(x=X, y=Y, size=16):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=size)


def expected(module, x=X):
    module.eval()
    with torch.no_grad():
        features = module[:4](x).float().numpy()
        head = module[4]
        bias = None if head.bias is None else head.bias.float().numpy()
        classifiers = head.weight.float().numpy()
    module.train()
    return metrics.collapse_metrics(metrics.NetworkLayer(features, Y.numpy(), classifiers, bias))


def assert_same(seen, known, rtol=1e-4):
    for name, value in known._asdict().items():
        np.testing.assert_allclose(seen.collapse[name], value, rtol, 1e-6, err_msg=name)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("last", [None, nn.LogSoftmax(1)])
def test_measures_are_those_of_the_whole_matrix(bias, last):
    module = network(bias, last)
    module[2].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    stream = bridges.from_torch(module, loader())
    seen = stream.measure()
    assert [part.training for part in module] == [True, True, False, True, True, True][
        : len(module)
    ]
    assert module.training and not any(part._forward_hooks for part in module.modules())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert (stream.bias is None) == (not bias)
    assert_same(seen, expected(module))


def test_the_layer_can_be_named_and_weights_are_those_of_the_moment(tmp_path):
    module = network()
    stream = bridges.from_torch(module, loader(), layer="4")
    with torch.no_grad():
        module[4].weight.mul_(2)
        module[0].weight.mul_(3)
    np.testing.assert_array_equal(stream.classifiers, module[4].weight.detach().numpy())
    assert_same(stream.measure(), expected(module))
    inner = bridges.from_torch(module, loader(y=torch.arange(50) % 6), layer="0")
    assert inner.classifiers.shape == (6, 8)


def test_wrapped_and_compiled_networks():
    module = network()
    known = expected(module)
    assert_same(bridges.from_torch(nn.DataParallel(module), loader()).measure(), known)
    compiled = torch.compile(module, backend="eager")
    assert_same(bridges.from_torch(compiled, loader()).measure(), known)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_other_precisions(kind):
    module = network().to(kind)
    seen = bridges.from_torch(module, loader(X.to(kind))).measure()
    assert_same(seen, expected(module, X.to(kind)), 2e-4)


def test_dicts_are_passed_by_name():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.fc = nn.Linear(8, 6), nn.Linear(6, 3)

        def forward(self, *, image, scale):
            return {"loss": None, "logits": self.fc(input=self.body(image) * scale)}

    batches = [{"image": X[rows], "scale": 2.0, "y": Y[rows]} for rows in (Y < 1, Y > 0)]

    def unpack(batch):
        return {"image": batch["image"], "scale": batch["scale"]}, batch["y"]

    module = Named()
    (part,) = bridges.from_torch(module, batches, unpack=unpack).batches()
    known = 2 * module.body(torch.cat([batch["image"] for batch in batches]))
    np.testing.assert_allclose(part[0], known.detach().numpy(), rtol=1e-5)


def test_tokens():
    module = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
    tokens = torch.arange(36).reshape(4, 9) % 9
    stream = bridges.from_torch(module, [(tokens, tokens)])
    (part,) = stream.batches()
    assert part[0].shape == (36, 4) and part[1].tolist() == tokens.reshape(-1).tolist()


class Adapted(nn.Module):
    """A linear layer with a low-rank addition: the last nn.Linear is not the classifier."""

    def __init__(self):
        super().__init__()
        self.base, self.down, self.up = nn.Linear(8, 3), nn.Linear(8, 2), nn.Linear(2, 3)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


CONVOLUTION = nn.Sequential(nn.Linear(8, 6), nn.Unflatten(1, (6, 1, 1)), nn.Conv2d(6, 3, 1))


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (CONVOLUTION, {}, "last nn.Linear that ran, '0', does not give.*layer=.*from_callable"),
        (Adapted(), {}, "last nn.Linear that ran, 'up', does not give"),
        (nn.Sequential(nn.Conv1d(1, 1, 1)), {}, "no nn.Linear ran.*from_callable"),
        (network(), {"layer": "fc"}, "path of a nn.Linear that runs, got 'fc'; '0', '4'"),
        (nn.Sequential(nn.LazyLinear(3)), {}, "lazy layers.*run one batch"),
        (lambda x: x, {}, "module must be a torch.nn.Module, got function"),
        (nn.Linear(8, 1), {}, "num_classes must be at least 2"),
    ],
)
def test_a_last_layer_that_is_not_known_is_an_error(module, options, message):
    batches = [(X[:, None] if "Conv1d" in str(module) else X, Y)]
    with pytest.raises((ValueError, TypeError), match=message):
        bridges.from_torch(module, batches, **options)


def test_bad_labels_and_an_empty_loader():
    labels = Y.clone()
    labels[20] = -1
    with pytest.raises(ValueError, match="batch 1: labels must be 0…2, got -1"):
        bridges.from_torch(network(), loader(y=labels)).measure()
    with pytest.raises(ValueError, match="at least one sample"):
        bridges.from_torch(network(), loader(X[:0], Y[:0]))


def test_a_failing_batch_leaves_the_mode():
    module = network()
    with pytest.raises(RuntimeError):
        bridges.from_torch(module, loader(X[:, :5]))
    assert all(part.training for part in module.modules())
    assert not any(part._forward_hooks for part in module.modules())
