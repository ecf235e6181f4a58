"""Checkpoints: a Hugging Face folder or hub id becomes a network with exactly its weights."""

from voxmood_export.checkpoint.loading import Checkpoint, load_checkpoint

__all__ = ["Checkpoint", "load_checkpoint"]
