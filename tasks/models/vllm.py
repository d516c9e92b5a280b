"""vLLM as the engine of answers: a server on loopback that has the base and whatever adapter is asked for.

A server, and no library: vLLM pins torch and transformers to versions of its own (0.32 wants transformers below 5.20),
so it lives in an environment of its own. It is asked by token ids, and gives token ids: no tokenizer, template or
default of its own has a part in the answers. One server answers for as long as the process makes answers; it ends when
a model is loaded or trained here, whose memory it has, or with the process.
"""

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from tasks.engine.code import not_in_key
from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_file
from tasks.models.model import ModelConfig, compute_dtype, device_of
from tasks.models.trust import trusted

BASE = "base"
RANK = 64  # of adapters, at least: base, champion and challenger are answered by one server
PATIENCE = 1800.0  # seconds to load a model and compile it
GRACE = 10.0  # seconds to end
# Ends with the process that started it, however that ends; 1 is PR_SET_PDEATHSIG of prctl(2).
DIES_WITH = (
    "import ctypes, os, sys; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 15); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(); os.execv(sys.argv[2], sys.argv[2:])"
)


class Server:
    """A vLLM of its own. Every method raises UserError for what the server refuses, and if it has ended."""

    def __init__(self, program: Path, base: Path, config: ModelConfig, rank: int) -> None:
        import httpx

        self.made_of = (program, base.resolve(), config)
        self.rank = max(rank, RANK)
        dtype = str(compute_dtype(config, device_of(config))).removeprefix("torch.")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = {
            "--served-model-name": BASE,
            "--host": "127.0.0.1",
            "--port": port,
            "--dtype": dtype,
            "--max-model-len": "auto",  # what the memory holds
            "--generation-config": "vllm",
            "--max-lora-rank": self.rank,
            "--max-cpu-loras": 4,
        }
        words = [str(word) for option in options.items() for word in option]
        code = ["--trust-remote-code"] if trusted(base, config.trust_remote_code) else []
        key = token_hex(16)
        environment = {
            **os.environ,
            "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "VLLM_API_KEY": key,
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", DIES_WITH, str(os.getpid()), str(program), "serve", str(base), "--enable-lora"]
            + [*words, *code],
            stdout=self.log,
            stderr=self.log,
            env=environment,
        )
        headers = {"Authorization": f"Bearer {key}"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=None)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def load(self, adapter: Path) -> str:
        """The name to ask for the adapter in this folder by, loaded if it is not. UserError for what vLLM refuses."""
        name = sha256_file(adapter / "adapter_model.safetensors")[:16]  # a name of its own: prefixes are cached by it
        if name not in {each["id"] for each in self._ask("GET", "/v1/models")["data"]}:
            self._ask("POST", "/v1/load_lora_adapter", lora_name=name, lora_path=str(adapter.resolve()))
        return name

    def generate(self, model: str, prompts: Sequence[list[int]], stop: Sequence[int], most: int) -> list[list[int]]:
        """Greedy: the new tokens behind each prompt, with the one that ended them, if one did."""
        asked = {"temperature": 0, "max_tokens": most, "stop_token_ids": list(stop), "ignore_eos": True, "seed": 0}
        told = self._ask("POST", "/v1/completions", model=model, prompt=prompts, return_token_ids=True, **asked)
        return [each["token_ids"] for each in sorted(told["choices"], key=lambda each: each["index"])]

    def loss(self, model: str, tokens: list[int]) -> float:
        """The sum of the cross-entropies of all tokens but the first, in nats."""
        asked = {"temperature": 0, "max_tokens": 1, "prompt_logprobs": 0}
        (told,) = self._ask("POST", "/v1/completions", model=model, prompt=tokens, **asked)["choices"]
        seen = zip(tokens[1:], told["prompt_logprobs"][1:], strict=True)
        return -sum(float(logprobs[str(token)]["logprob"]) for token, logprobs in seen)

    @not_in_key("when it ends, not what it answers")
    def close(self) -> None:
        import psutil

        self.client.close()
        whole = [self.process, *_children(self.process.pid)]
        with suppress(ProcessLookupError):
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        for each in whole:
            with suppress(psutil.Error, ProcessLookupError):
                each.kill()
        self.process.wait()
        self.log.close()

    def _wait(self) -> None:
        import httpx

        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise self._ended()
            with suppress(httpx.HTTPError):
                if self.client.get("/health", timeout=5).is_success:
                    return
            time.sleep(0.5)
        raise UserError(f"vLLM is not up after {PATIENCE / 60:.0f} minutes", "answer.engine: transformers")

    def _ask(self, method: str, path: str, **asked: Any) -> Any:
        import httpx

        try:
            response = self.client.request(method, path, json=asked or None)
        except httpx.HTTPError:
            self.process.wait()
            raise self._ended() from None
        if response.is_error:
            raise UserError(
                f"vLLM refuses {path}: {response.status_code} {response.text[:500]}", "or answer.engine: transformers"
            )
        return response.json() if response.headers.get("content-type", "").startswith("application/json") else None

    @not_in_key("an error message")
    def _ended(self) -> UserError:
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").splitlines()
        told = [line for line in lines if "Error" in line] or lines or ["it said nothing"]
        remedy = "mend that, or answer.engine: transformers; VLLM_CPU_KVCACHE_SPACE bounds its memory on a CPU"
        return UserError(f"vLLM ended with {self.process.returncode}: {told[-1].strip()[:500]}", remedy)


_running: list[Server] = []


def server(program: Path, base: Path, config: ModelConfig, adapter: Path | None) -> tuple[Server, str]:
    """A server of this base, the one that runs if it is that, and the name by which it is asked for the adapter."""
    from tasks.models.bundle import max_lora_rank, named_obstacles, obstacles, rank_of  # train only ends what runs

    if adapter and (told := named_obstacles(obstacles(adapter))):
        raise UserError(f"vLLM does not answer with this adapter ({told})", "set answer.engine: transformers")
    rank = max_lora_rank(rank_of(adapter)) or 0 if adapter else 0
    kept = _running[0] if _running else None
    fits = kept and kept.made_of == (program, base.resolve(), config) and rank <= kept.rank
    if not (kept and fits and kept.process.poll() is None):
        stop()
        atexit.register(stop)
        kept = Server(program, base, config, rank)
        _running.append(kept)
    return kept, kept.load(adapter) if adapter else BASE


@not_in_key("when it ends, not what it answers")
def stop() -> None:
    """End the server that runs, if one does."""
    while _running:
        _running.pop().close()


@not_in_key("when it ends, not what it answers")
def _children(pid: int) -> list[Any]:
    import psutil

    found: list[Any] = []
    with suppress(psutil.Error):
        found = psutil.Process(pid).children(recursive=True)
    return found
