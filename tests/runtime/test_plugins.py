"""Providers that are plug-ins: the way to them, and every way in which they can fail.

Their packages are simulated, and so is what ONNX Runtime says about their devices, which depends on
the machine. `.ci/check_provider.py` runs real ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

import voxmood
from voxmood import ProviderError
from voxmood.cli import main
from voxmood.engine import plugins, session
from voxmood.engine.providers import PACKAGES

PROVIDER = "FakeExecutionProvider"
PACKAGE = f"""
def get_library_path():
    return {{library!r}}

def get_ep_names():
    return [{PROVIDER!r}]
"""


@dataclass
class Fake:
    """A plug-in that is not one: its package is real, and its devices are those of a test."""

    folder: Path
    devices: list[Any] = field(default_factory=list)
    registered: list[tuple[str, str]] = field(default_factory=list)
    added: list[tuple[list[Any], dict[str, str]]] = field(default_factory=list)

    def install(self, package: str = "onnxruntime_ep_fake", code: str = "") -> None:
        (self.folder / package).mkdir()
        code = code or PACKAGE.format(library=str(self.folder / "library.so"))
        (self.folder / package / "__init__.py").write_text(code, "utf-8")

    def offer(self, *types: str) -> None:
        for name in types:
            hardware = SimpleNamespace(type=SimpleNamespace(name=name.upper()), vendor="Nobody")
            self.devices.append(
                SimpleNamespace(
                    ep_name=PROVIDER, device=hardware, ep_metadata={"library_path": "library.so"}
                )
            )


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """A folder in which packages can be installed; ONNX Runtime is the real one."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    plugins._register.cache_clear()
    yield Fake(tmp_path)
    plugins._register.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("onnxruntime_"):
            del sys.modules[name]


@pytest.fixture
def fake(packages: Fake, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """An installed plug-in, which ONNX Runtime takes for a real one."""
    packages.install()
    real: list[str] = onnxruntime.get_available_providers()

    def available() -> list[str]:  # as ONNX Runtime from 1.24 on
        return real + ([PROVIDER] if packages.registered and packages.devices else [])

    for name, function in (
        ("get_available_providers", available),
        ("register_execution_provider_library", lambda *names: packages.registered.append(names)),
        ("get_ep_devices", lambda: packages.devices if packages.registered else []),
    ):
        monkeypatch.setattr(onnxruntime, name, function, raising=False)

    def add(options: Any, devices: list[Any], choices: dict[str, str]) -> None:
        assert all(isinstance(value, str) for value in choices.values())
        packages.added.append((devices, choices))

    monkeypatch.setattr(onnxruntime.SessionOptions, "add_provider_for_devices", add, raising=False)
    return packages


@pytest.mark.parametrize("name", ["fake", "onnxruntime-ep-fake", PROVIDER])
@pytest.mark.parametrize(("device", "index"), [(None, 0), ("cpu", 0), ("gpu", 1), ("npu", 3)])
def test_the_device_is_the_first_of_its_type(
    fake: Fake, name: str, device: str | None, index: int
) -> None:
    fake.offer("cpu", "gpu", "gpu", "npu")
    other = SimpleNamespace(ep_name="CPUExecutionProvider", device=None, ep_metadata={})
    fake.devices.insert(0, other)
    with pytest.raises(ProviderError, match="FakeExecutionProvider did not start"):
        voxmood.load(provider=[(name, {"level": 3})], device=device)  # ONNX Runtime has no such one
    assert fake.registered == [("voxmood.onnxruntime_ep_fake", str(fake.folder / "library.so"))]
    assert fake.added == [([fake.devices[1 + index]], {"level": "3"})]


def test_a_plugin_is_registered_once(fake: Fake) -> None:
    fake.offer("gpu")
    for _ in range(3):
        assert session.resolve_provider("fake", "gpu") == [(PROVIDER, {})]
    assert len(fake.registered) == 1


def test_no_device(fake: Fake) -> None:
    with pytest.raises(
        ProviderError, match=r"fake \(onnxruntime-ep-fake\).*offers no device here.*CPUExecution"
    ):
        voxmood.load(provider="fake")


def test_no_device_of_openvino_names_what_runs_on_amd(fake: Fake) -> None:
    fake.install(PACKAGES["openvino"].replace("-", "_"))
    with pytest.raises(ProviderError, match=r"CPUs of AMD.*pip install 'voxmood\[openvino\]'"):
        voxmood.load(provider="openvino")


def test_no_such_device(fake: Fake) -> None:
    fake.offer("gpu", "gpu")
    with pytest.raises(ProviderError, match="offers no npu on this machine, only gpu"):
        voxmood.load(provider="fake", device="npu")


@pytest.mark.parametrize("together", [["fake", "cpu"], ["cpu", "fake"]])
def test_the_cpu_may_be_listed_beside_a_plugin(fake: Fake, together: list[str]) -> None:
    fake.offer("gpu")
    assert {name for name, _ in session.resolve_provider(together)} == {
        PROVIDER,
        "CPUExecutionProvider",
    }


def test_another_provider_may_not(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime takes either plug-ins or built-in ones, and says nothing about the others."""
    fake.offer("gpu")
    names = ["CPUExecutionProvider", "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    with pytest.raises(ProviderError, match="cannot be combined with"):
        session.resolve_provider(["fake", "cuda"])


def test_a_plugin_that_refuses_its_options(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.offer("gpu")

    def refuse(*arguments: Any) -> None:
        raise RuntimeError("no such option")

    monkeypatch.setattr(onnxruntime.SessionOptions, "add_provider_for_devices", refuse)
    with pytest.raises(ProviderError, match=r"FakeExecutionProvider did not start.*no such option"):
        voxmood.load(provider="fake")


def test_an_old_onnxruntime(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(onnxruntime, "register_execution_provider_library")
    with pytest.raises(ProviderError, match=r"needs ONNX Runtime 1\.23.*pip install --upgrade"):
        voxmood.load(provider="fake")


LIBRARIES = {
    "missing": None,
    "empty": b"",
    "text": b"not a library",
    "no plug-in": next(Path(np.__file__).parent.rglob("_multiarray_umath*")).read_bytes(),
}


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_library_that_cannot_be_registered(packages: Fake, kind: str) -> None:
    """What ONNX Runtime itself says about it is in the message."""
    content = LIBRARIES[kind]
    packages.install()
    if content is not None:
        (packages.folder / "library.so").write_bytes(content)
    with pytest.raises(
        ProviderError, match=r"cannot be used with.*pip install --upgrade"
    ) as caught:
        voxmood.load(provider="fake")
    assert str(caught.value).count("\n") <= 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_driver", "no_such_driver"),
        ("raise OSError('libdriver.so.1: cannot open')", "libdriver"),
        ("def get_ep_names(): raise FileNotFoundError('incomplete')", "incomplete"),
        (f"def get_ep_name(): return {PROVIDER!r}", "has no get_library_path"),
        ("def get_library_path(): return 'library.so'", "has no get_ep_names"),
    ],
)
def test_a_broken_package(packages: Fake, code: str, message: str) -> None:
    packages.install(code=code)
    with pytest.raises(ProviderError, match=f"{message}.*pip install --upgrade"):
        voxmood.load(provider="fake")


def test_other_names_of_the_functions(packages: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    packages.install(code=f"def ep_name(): return {PROVIDER!r}\ndef library_path(): return 'x.so'")
    with pytest.raises(ProviderError, match=r"x\.so"):
        voxmood.load(provider="fake")


@pytest.mark.parametrize("name", PACKAGES)
def test_what_is_not_installed(name: str) -> None:
    if plugins.find_plugin(name):
        pytest.skip(f"{name} is installed")
    package = "voxmood[openvino-plugin]" if name == "openvino" else PACKAGES[name]
    with pytest.raises(ProviderError) as caught:
        voxmood.load(provider=name)
    assert f"pip install '{package}'" in str(caught.value)
    assert ("voxmood[openvino]" in str(caught.value)) == (name == "openvino")


@pytest.mark.parametrize("name", ["tpu", "onnxruntime-ep-tpu", "../fake", "", "ep", "json"])
def test_names_of_nothing(name: str) -> None:
    with pytest.raises(ProviderError, match=f"'{name}' is not known; there are cpu, cuda, openv"):
        voxmood.load(provider=name)


@pytest.mark.parametrize(
    ("provider", "device", "options"),
    [
        ("cpu", "cpu", {}),
        ("cuda", "gpu", {}),
        ("openvino", "npu", {"device_type": "NPU"}),
        ("openvino", None, {}),
    ],
)
def test_devices_of_built_in_providers(
    monkeypatch: pytest.MonkeyPatch, provider: str, device: str | None, options: dict[str, str]
) -> None:
    names = [f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "OpenVINO")]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    ((_, chosen),) = session.resolve_provider(provider, device)
    assert chosen == options


@pytest.mark.parametrize(
    ("provider", "device", "message"),
    [
        ("cpu", "gpu", "CPUExecutionProvider has no device 'gpu'"),
        (["cpu"], "npu", "has no device 'npu'"),
        ("cpu", "tpu", "device is 'tpu'; there are cpu, gpu, npu"),
        ("cpu", 3, "device is 3"),
    ],
)
def test_wrong_devices(provider: Any, device: Any, message: str) -> None:
    with pytest.raises(ProviderError, match=message):
        voxmood.load(provider=provider, device=device)


def test_a_command_takes_both(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.offer("cpu")
    assert main(["predict", "clip.wav", "--provider", "fake", "--device", "npu"]) == 1
    assert "fake (onnxruntime-ep-fake) is installed, but offers no npu" in capsys.readouterr().err


def test_info_lists_plugins(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.offer("gpu", "npu")
    fake.install("onnxruntime_ep_broken", "import no_such_driver")
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "gpu (Nobody), npu (Nobody); onnxruntime-ep-fake" in text
    assert "no_such_driver" in text
    assert main(["info", "--json"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["plugins"]}
    assert [each["type"] for each in found["fake"]["devices"]] == ["gpu", "npu"]
    assert found["fake"]["error"] is None
    assert "no_such_driver" in found["broken"]["error"]
    fake.devices.clear()
    assert main(["info"]) == 0
    assert "offers no device here; onnxruntime-ep-fake" in capsys.readouterr().out
