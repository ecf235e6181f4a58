# What developers do, under one name each. `just` is installed with the development group, and CI
# runs the same recipes.

# List the recipes.
default:
    @just --list

# Check style, format and types.
lint:
    ruff check .
    ruff format --check .
    mypy

# Run the everyday tests, or those that are named: just test tests/runtime/test_cli.py
test *arguments:
    pytest {{ arguments }}

# Run the thorough tests, too, and print how much of each module the tests run.
test-all *arguments:
    pytest --cov -m "not (full_size or ray or slow)" {{ arguments }}

# Measure the shipped bundle beside PyTorch. The report goes into a folder: just bench report
bench output *options:
    voxmood bench run models/voxmood-small/bundle --reference models/voxmood-small --output {{ output }} {{ options }}

# Write the tables of the pages from the results in benchmarks/results.
docs:
    python benchmarks/scripts/readme.py

# Build the API reference into a folder, and check its links: just api reference
api output:
    python .ci/api_reference.py {{ output }}

# Run everything that must pass before a change lands. It starts from an empty environment.
ci:
    bash .ci/run
