"""The inference form: a checkpoint's network, written for speed in PyTorch.

Names of attributes become names in graphs and in `bundle.json`, so those of released bundles stay:
`front_end` is the feature encoder, `product` a module's linear layer and `framing` its im2col.
"""
