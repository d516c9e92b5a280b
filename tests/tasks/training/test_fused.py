"""An adapted layer in one autograd function against PEFT's own: loss, gradients, and what it leaves alone."""

import pytest

from tasks.training.config import TrainConfig
from tasks.training.faster.fused import fuse
from tasks.training.job import Job
from tests.tasks.tiny import inputs_in

IDS = [[1, 20, 30, 40, 50, 60, 70, 80, 90, 11]]
SHAPE = {"r": 4, "alpha": 8, "dropout": 0.0}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return inputs_in(tmp_path_factory.mktemp("inputs"), rows=2)


def model_of(inputs, tmp_path, lora=None, **settings):
    """As training makes it, its adapter no longer the zero that it begins with."""
    import torch

    from tasks.training.adapted import adapted

    config = TrainConfig.model_validate({**settings, "lora": {**SHAPE, **(lora or {})}})
    torch.manual_seed(0)
    model = adapted(Job(config=config, **inputs, work=tmp_path, out=tmp_path))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn_like(parameter, dtype=torch.float32) * 0.05
    return model.train()


def by_peft(model):
    for module in model.modules():
        vars(module).pop("forward", None)
    return model


def step(model, *, narrow=False):
    """Loss and gradients, by parameter."""
    import torch

    ids = torch.tensor(IDS)
    torch.manual_seed(1)  # of dropout
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.item(), {name: each.grad.clone() for name, each in model.named_parameters() if each.requires_grad}


def distance(some, others):
    norms = [sum((each[name] ** 2).sum() for name in others) for each in (differences(some, others), others)]
    return (norms[0] / norms[1]).sqrt().item()


def differences(some, others):
    return {name: some[name] - others[name] for name in others}


@pytest.mark.parametrize("quantization", ["nf4", "none"])
@pytest.mark.parametrize("speed", ["auto", "plain"])
@pytest.mark.parametrize(
    "lora",
    [{}, {"dropout": 0.3}, {"use_rslora": True, "rank_pattern": {"q_proj": 2}}, {"target_modules": ["v_proj"]}],
    ids=["every layer", "dropout", "ranks", "one kind of layer"],
)
def test_loss_and_gradients_are_those_of_peft(quantization, speed, lora, inputs, tmp_path):
    settings = {"speed": speed, "model": {"quantization": quantization, "compute_dtype": "float32"}}
    model = model_of(inputs, tmp_path, lora, **settings)
    loss, grads = step(model)
    loss_by_peft, grads_by_peft = step(by_peft(model))
    assert loss == pytest.approx(loss_by_peft, rel=1e-6)
    assert distance(grads, grads_by_peft) < 1e-5
    assert min(each.norm() for each in grads.values()) > 0


def test_in_16_bits_it_is_as_near_to_float32_as_peft_is_and_packed_weights_differ_in_nothing(inputs, tmp_path):
    _, exact = step(model_of(inputs, tmp_path, model={"compute_dtype": "float32"}))
    found = {}
    for speed in ("auto", "plain"):
        model = model_of(inputs, tmp_path, speed=speed, model={"compute_dtype": "bfloat16"})
        found[speed] = step(model, narrow=True)
        _, by_own_forward = step(by_peft(model), narrow=True)
        assert 0 < distance(found[speed][1], exact) < 1.25 * distance(by_own_forward, exact)
    assert found["auto"][0] == found["plain"][0]
    assert distance(found["auto"][1], found["plain"][1]) == 0


def test_recomputed_layers_have_the_same_gradients(inputs, tmp_path):
    loss, grads = step(model_of(inputs, tmp_path, speed="plain"))
    again, recomputed = step(model_of(inputs, tmp_path, speed="plain", gradient_checkpointing="on"))
    assert (again, distance(recomputed, grads)) == (loss, 0)


@pytest.mark.parametrize(
    "lora", [{"use_dora": True}, {"bias": "all", "target_modules": ["q_proj"]}], ids=["DoRA", "biases"]
)
def test_what_is_more_than_two_products_is_left_to_peft(lora, inputs, tmp_path):
    model = model_of(inputs, tmp_path, lora, model={"quantization": "none"})
    assert fuse(model) == 0
    assert not any("forward" in vars(module) for module in model.modules())


def test_an_adapter_that_is_switched_off_or_merged_is_not_added(inputs, tmp_path):
    import torch

    whole = {"quantization": "none", "compute_dtype": "float32"}
    model, ids = model_of(inputs, tmp_path, model=whole), torch.tensor(IDS)
    with torch.no_grad():
        tuned = model(ids).logits
        with model.disable_adapter():
            base = model(ids).logits
        model.merge_adapter()
        merged = model(ids).logits
    assert not torch.allclose(tuned, base, atol=1e-2)
    assert torch.allclose(tuned, merged, atol=1e-4)
