"""Int8 graphs: how each linear layer is quantized, and what keeps the error small."""
