"""The original checkpoint as its model card runs it, with the interface of `voxmood.Model`.

Nothing of voxmood is imported before `Reference.predict` is called: this module also runs where
voxmood is not installed, and the memory that the reference takes must be its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

if TYPE_CHECKING:
    from voxmood import Prediction


class Reference:
    """A checkpoint that transformers runs, on recordings that librosa reads.

    Args:
        checkpoint: a folder or a hub id.
        threads: of PyTorch; None leaves its number of threads as it is.
        dtype: the type that PyTorch computes in.
        device: where it computes.
    """

    def __init__(
        self,
        checkpoint: str,
        *,
        threads: int | None = None,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
        self._model = AutoModelForAudioClassification.from_pretrained(checkpoint).eval()
        self._model.to(device, getattr(torch, dtype))
        self._pooled: torch.Tensor | None = None
        self._model.classifier.register_forward_pre_hook(self._keep)

    def _keep(self, _: Any, inputs: tuple[torch.Tensor]) -> None:
        self._pooled = inputs[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels in the order of the logits."""
        names = self._model.config.id2label
        return tuple(names[index] for index in range(len(names)))

    def logits(self, waveform: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the logits [labels] of a waveform [samples] at the checkpoint's rate."""
        rate = self._extractor.sampling_rate
        inputs = self._extractor(waveform, sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            values = inputs.input_values.to(self._model.device, self._model.dtype)
            logits: npt.NDArray[np.float32] = self._model(values).logits[0].float().cpu().numpy()
        return logits

    def predict(self, source: str | os.PathLike[str]) -> Prediction:
        """Return the prediction for one recording."""
        import librosa

        from voxmood import Prediction

        rate = self._extractor.sampling_rate
        waveform, _ = librosa.load(source, sr=rate, mono=True)
        logits = self.logits(waveform)
        probabilities = torch.from_numpy(logits).softmax(-1).tolist()
        assert self._pooled is not None  # kept by the call above
        return Prediction(
            label=self.labels[int(np.argmax(logits))],
            probabilities=dict(zip(self.labels, probabilities, strict=True)),
            logits=logits,
            embedding=self._pooled[0].float().cpu().numpy(),
            duration=len(waveform) / rate,
        )
