"""Failures that a user can fix, with their remedies; and a GPU that is lost, once and for good."""

import pytest

from tasks.engine.errors import UserError
from tasks.training.failures import LostGpu, explain_failures, gpu_failure
from tasks.training.launch import run_child
from tasks.training.outputs import last_intact
from tests.tasks.tiny import inputs_in
from tests.tasks.training import lost_gpu
from tests.tasks.training.jobs import job_of
from tests.tasks.training.trained import QUICK, content

pytestmark = pytest.mark.usefixtures("loaded_training")
ON_A_CPU = {"model": QUICK.model.model_copy(update={"device": "cpu"})}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return inputs_in(tmp_path_factory.mktemp("inputs"), rows=12)


def job(folder, inputs, how="", **settings):
    made = job_of(QUICK.model_copy(update={"max_steps": 8, **settings}), inputs, folder)
    (made.work / "lost").write_text(how)
    return made


@pytest.mark.slow
@pytest.mark.nightly
def test_after_a_lost_gpu_a_new_process_goes_on_from_the_checkpoint_to_the_same_bytes(inputs, tmp_path, capsys):
    lost = job(tmp_path / "lost", inputs, "once", **ON_A_CPU)
    run_child(lost, module=lost_gpu.__name__)
    output = capsys.readouterr().err
    assert (
        "the GPU was lost: CUDA error: unspecified launch failure. Trying once more in a new process, from step 4"
        in output
    )
    assert "resuming from checkpoint-4" in lost.metrics.read_text()
    undisturbed = job(tmp_path / "undisturbed", inputs, "again", **ON_A_CPU)
    run_child(undisturbed, module=lost_gpu.__name__)
    assert content(lost.out) == content(undisturbed.out)


@pytest.mark.parametrize(
    ("how", "settings", "then"),
    [
        ("", ON_A_CPU, "the GPU was lost"),  # again, no further than before
        ("", {}, "model.device is cuda, and this machine has no CUDA device"),  # it does not go on with the CPU
        pytest.param("aborted", ON_A_CPU, "the GPU was lost", marks=[pytest.mark.slow, pytest.mark.nightly]),
    ],
)
def test_a_gpu_that_stays_lost_ends_the_training_and_the_checkpoint_is_kept(inputs, tmp_path, how, settings, then):
    lost = job(tmp_path, inputs, how, **settings)
    with pytest.raises(LostGpu) as failed:
        run_child(lost, module=lost_gpu.__name__)
    assert failed.value.what.startswith("the GPU was lost: ")
    assert f"unspecified launch failure; then, in a new process: {then}" in failed.value.what
    assert "nvidia-smi" in failed.value.remedy and "the checkpoint of step 4 is kept" in failed.value.remedy
    assert last_intact(lost.checkpoints).name == "checkpoint-4"


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: uncorrectable ECC error encountered\nCompile with `TORCH_USE_CUDA_DSA` to enable more.",
        "Unable to determine the device handle for GPU0: 0000:41:00.0: GPU is lost.  Reboot the system to recover",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(handle, opa, opb, m, n, k)`",
        "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled cuda error, NCCL version 2.29\nncclUnhandledCudaError: …",
    ],
)
@pytest.mark.parametrize("loading", [True, False])
def test_a_lost_gpu_is_known_by_what_cuda_and_nccl_say(tmp_path, inputs, words, loading):
    import torch

    kind = torch.distributed.DistBackendError if "NCCL" in words else torch.AcceleratorError
    expected = pytest.raises(LostGpu, match="restart the worker.*there is no checkpoint yet")
    with expected, explain_failures(job(tmp_path, inputs), loading=loading):
        raise kind(words)


def test_an_assertion_on_the_gpu_is_the_datas_fault_and_not_tried_again(tmp_path, inputs):
    import torch

    expected = pytest.raises(UserError, match="(?s)device-side assert triggered.*tokenizer")
    with expected as found, explain_failures(job(tmp_path, inputs)):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCUDA kernel errors might be late")
    assert not isinstance(found.value, LostGpu)


@pytest.mark.parametrize(
    "words", ["CUDA error: no kernel image is available for execution on the device", "list index out of range"]
)
def test_what_is_no_lost_gpu_stays_what_it_is(tmp_path, inputs, words):
    import torch

    with pytest.raises(torch.AcceleratorError, match=words), explain_failures(job(tmp_path, inputs)):
        raise torch.AcceleratorError(words)
    assert gpu_failure(words, job(tmp_path / "again", inputs)) is None


def test_an_operation_without_a_deterministic_form_is_refused_by_the_name_of_the_field(tmp_path, inputs):
    import torch

    torch.use_deterministic_algorithms(True)
    expected = pytest.raises(UserError, match="train.deterministic is true.*put_.*\n.*train.deterministic to false")
    try:
        with expected, explain_failures(job(tmp_path, inputs)):
            torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
    finally:
        torch.use_deterministic_algorithms(False)
