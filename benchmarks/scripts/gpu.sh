#!/usr/bin/env bash
# Measures the full-size network with random weights on an NVIDIA GPU.
#
#   bash benchmarks/scripts/gpu.sh prepare FOLDER [PYTHON]   where there is a network: 3.12 by default
#   bash benchmarks/scripts/gpu.sh run FOLDER OUTPUT         on the GPU machine: OUTPUT/gpu.json
#
# The GPU machine needs no network. Its python3 must have PyTorch for CUDA 13, onnx and safetensors;
# FOLDER holds the wheels of what else is needed. The one of onnxruntime-gpu is 256 MB large and is
# cut into pieces of 40 MB, so that they can be copied one at a time. `run` takes about 6 minutes.
set -euo pipefail

wheels=(onnxruntime-gpu==1.31.1 transformers==4.57.6 tokenizers==0.22.1 huggingface-hub==0.36.0
  optimum==2.0.0 optimum-onnx==0.1.0 onnx-ir==1.1.0 soundfile==0.14.0 soxr==1.1.0 cffi==2.1.1
  pycparser==3.12 requests==2.34.2 charset-normalizer==3.5.3)

prepare() {
  local folder=$1 python=${2:-3.12} platforms=()
  for number in 28 27 26 24 17; do platforms+=(--platform "manylinux_2_${number}_x86_64"); done
  mkdir -p "$folder"
  python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version "$python" \
    --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 \
    --platform manylinux1_x86_64 --dest "$folder" "${wheels[@]}"
  python3 -m pip wheel --quiet --no-deps --wheel-dir "$folder" .
  (cd "$folder" && for wheel in onnxruntime_gpu-*.whl; do
    split --bytes=40MB --numeric-suffixes "$wheel" "$wheel." && rm "$wheel"
  done)
  ls -l "$folder"
}

run() {
  local folder=$1 output=$2
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT  # so `work` must outlive this function
  mkdir -p "$output" "$work/wheels"
  cp "$folder"/*.whl "$work/wheels"
  for piece in "$folder"/*.whl.*; do
    cat "$piece" >>"$work/wheels/$(basename "${piece%.*}")"
  done
  python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$work/site" \
    "$work"/wheels/*.whl
  export PYTHONPATH="$work/site" TORCHINDUCTOR_CACHE_DIR="$work/inductor" PYTHONUNBUFFERED=1
  local measure=(python3 benchmarks/scripts/gpu.py "$work/bundle" --reference "$work/checkpoint")
  python3 -m voxmood_export.testing "$work/checkpoint"
  python3 -m voxmood export "$work/checkpoint" "$work/bundle" --precisions fp32,fp16 &
  # Meanwhile, torch.compile fills its cache on the other cores.
  "${measure[@]}" --warm "PyTorch float16, torch.compile" --sizes 5x1 1x1 || true
  wait $!
  "${measure[@]}" --json "$output/gpu.json" --budget "${BUDGET:-200}"
}

"$@"
