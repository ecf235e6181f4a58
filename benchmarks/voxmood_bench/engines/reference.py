"""The original checkpoint as its authors run it.

Nothing of voxmood is imported unless it is needed: this module also runs where voxmood is not
installed, and the memory that the reference takes must be its own.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification


class Reference:
    """A checkpoint in PyTorch.

    Args:
        checkpoint: a folder or a hub id.
        own_class: whether transformers' own class for such checkpoints runs it. Otherwise its
            encoder is that of transformers, and its head is what bundles are verified against.
        threads: of PyTorch; None leaves its number of threads as it is.
        dtype: the type that PyTorch computes in.
        device: where it computes.
    """

    def __init__(
        self,
        checkpoint: str,
        *,
        own_class: bool = True,
        threads: int | None = None,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._own_class = own_class
        self._device, self._dtype = torch.device(device), getattr(torch, dtype)
        self._model: Any
        if own_class:
            self._extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
            self._model = AutoModelForAudioClassification.from_pretrained(checkpoint).eval()
        else:
            from voxmood_export.checkpoint import load_checkpoint

            loaded = load_checkpoint(checkpoint)
            self._extractor, self._model = loaded.extractor, loaded.model
        self._model.to(self._device, self._dtype)

    def logits(self, waveform: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the logits [labels] of a waveform [samples] at the checkpoint's rate."""
        rate = self._extractor.sampling_rate
        inputs = self._extractor(waveform, sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            found = self._model(inputs.input_values.to(self._device, self._dtype))
        logits: torch.Tensor = found.logits if self._own_class else found
        return logits[0].float().cpu().numpy()

    def logits_of(self, source: str | os.PathLike[str]) -> npt.NDArray[np.float32]:
        """Return the logits [labels] of a recording, as librosa reads it."""
        import librosa

        waveform, _ = librosa.load(source, sr=self._extractor.sampling_rate, mono=True)
        return self.logits(waveform)
