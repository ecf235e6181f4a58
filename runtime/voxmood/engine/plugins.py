"""Execution providers that are plug-ins: Python packages which ONNX Runtime does not come with.

Such a package has a library with one provider or several. Once the library is registered, ONNX
Runtime asks it which devices of this machine it can run on. That may be none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from voxmood.engine.ort import onnxruntime
from voxmood.engine.providers import PACKAGES, PREFIX
from voxmood.errors import ProviderError


@dataclass(frozen=True)
class Plugin:
    """A plug-in, installed or not.

    Attributes:
        name: what the user calls it, such as `webgpu`.
        package: the name of its package, as pip takes it.
    """

    name: str
    package: str

    @property
    def module(self) -> str:
        """The name by which its package is imported."""
        return self.package.replace("-", "_")

    @property
    def version(self) -> str:
        """The version of its package; empty where it is not known, as in a frozen program."""
        # Imported late, since `import voxmood` must be quick.
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(self.package)
        except PackageNotFoundError:
            return ""

    def providers(self) -> list[str]:
        """Return ONNX Runtime's names of its providers.

        Raises:
            ProviderError: the package cannot be imported, or does not tell their names.
        """
        names = _ask(self, ("get_ep_names", "get_ep_name", "ep_name"))
        return [names] if isinstance(names, str) else list(names)

    def devices(self) -> list[Any]:
        """Return the devices that its first provider offers, as ONNX Runtime's `OrtEpDevice`.

        The library is registered first, once in a process.

        Raises:
            ProviderError: ONNX Runtime is too old for plug-ins, or cannot load the library.
        """
        provider = self.providers()[0]
        _register(self)
        return [device for device in onnxruntime.get_ep_devices() if device.ep_name == provider]

    def choose(self, device: str | None) -> Any:
        """Return the first device of a type, or the first of all where the type is None.

        Raises:
            ProviderError: there is none, or `devices` cannot tell.
        """
        offered = self.devices()
        for each in offered:
            if device in (None, device_type(each)):
                return each
        types = ", ".join(dict.fromkeys(map(device_type, offered)))
        offer = f"no {device} on this machine, only {types}" if types else "no device here"
        others = [other.name for other in installed_plugins() if other != self]
        usable = ", ".join(built_in_providers() + others)
        raise ProviderError(
            f"{self.name} ({self.package}) is installed, but offers {offer}; "
            f"{self._remedy(device)}. Other providers are {usable}; `voxmood info` lists the "
            "devices of plug-ins."
        )

    def _remedy(self, device: str | None) -> str:
        if self.name == "openvino" and device in (None, "cpu"):
            return (
                "it runs on CPUs of Intel only, and on CPUs of AMD the older flavor does: in an "
                "environment of its own, pip install 'voxmood[openvino]'"
            )
        return "a driver may be missing"


def built_in_providers() -> list[str]:
    """Return ONNX Runtime's names of the providers that it comes with.

    ONNX Runtime itself lists those of registered plug-ins with them.
    """
    available: list[str] = onnxruntime.get_available_providers()
    if not hasattr(onnxruntime, "get_ep_devices"):  # as before 1.23
        return available
    devices = onnxruntime.get_ep_devices()
    added = {device.ep_name for device in devices if "library_path" in device.ep_metadata}
    return [name for name in available if name not in added]


def device_type(device: Any) -> str:
    """Return `cpu`, `gpu` or `npu` for an `OrtEpDevice`."""
    name: str = device.device.type.name
    return name.lower()


def installed_plugins() -> list[Plugin]:
    """Return the plug-ins that can be imported, without importing them."""
    import pkgutil  # late, as above

    names = {package: name for name, package in PACKAGES.items()}
    packages = sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules())
    return [
        Plugin(names.get(package, package.removeprefix(PREFIX)), package)
        for package in packages
        if package in names or package.startswith(PREFIX)
    ]


def find_plugin(name: str) -> Plugin | None:
    """Return the plug-in that a name means, or None where it means none that is installed.

    Args:
        name: the short name, the name of the package, or ONNX Runtime's name of the provider.

    Raises:
        ProviderError: an installed plug-in cannot be imported.
    """
    plugins = installed_plugins()
    for plugin in plugins:
        if name in (plugin.name, plugin.package):
            return plugin
    if name.endswith("ExecutionProvider"):
        for plugin in plugins:
            if name == plugin.providers()[0]:
                return plugin
    return None


def _ask(plugin: Plugin, functions: Sequence[str]) -> Any:
    """Return the answer of the first of these functions that the package has."""
    module = _import(plugin)
    for function in functions:
        if hasattr(module, function):
            try:
                return getattr(module, function)()
            except Exception as error:  # such as a library that is missing from the package
                raise _broken(plugin, error) from error
    raise _broken(plugin, f"it has no {functions[0]}")


def _import(plugin: Plugin) -> ModuleType:
    try:
        return import_module(plugin.module)
    except Exception as error:  # these packages load libraries when they are imported
        raise _broken(plugin, error) from error


@cache
def _register(plugin: Plugin) -> None:
    """Register the library of a plug-in under a name that no other code would use."""
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise ProviderError(
            f"{plugin.name} ({plugin.package}) needs ONNX Runtime 1.23 or newer, but "
            f"{onnxruntime.__version__} is installed: pip install --upgrade onnxruntime."
        )
    library = _ask(plugin, ("get_library_path", "library_path"))
    try:
        onnxruntime.register_execution_provider_library(f"voxmood.{plugin.module}", str(library))
    except Exception as error:  # ONNX Runtime's errors have no common type of their own
        raise _broken(plugin, error) from error


def _broken(plugin: Plugin, reason: object) -> ProviderError:
    return ProviderError(
        f"{plugin.name} ({plugin.package} {plugin.version}) cannot be used with ONNX Runtime "
        f"{onnxruntime.__version__} ({reason}); check that they fit together: "
        f"pip install --upgrade onnxruntime {plugin.package}."
    )
