"""Train a small neural network on real handwritten digits, with nothing but Python's standard library.

``python3 train.py [--data FILE] [--out FOLDER] [--epochs N] [--seed N]`` prints one line per epoch and writes
``model.json`` (weights, held-out accuracy, hash of the data) to the output folder; ``python3 train.py
--evaluate model.json`` measures a finished model again. The same data and seed give the same model. It never
reads anything but its data and the model, and writes nothing outside its output folder.
"""

# ruff: noqa: T201 (what a job prints is its log)
from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import random
import time
from collections.abc import Sequence
from operator import mul
from pathlib import Path

PIXELS = 64
CLASSES = 10
HIDDEN = 32
LEARNING_RATE = 0.03
DECAY = 0.96
HELD_OUT = 360
"""Images kept away from training and used only to measure accuracy (one fifth of the data)."""

Image = tuple[list[float], int]
Layer = list[list[float]]
"""One row of weights per output; the last weight of a row is its bias."""


def load(path: Path) -> list[Image]:
    """Read the images: 64 grey values of 0..16 scaled to 0..1, a constant 1 for the bias, and the digit."""
    images = []
    with gzip.open(path, "rt", encoding="ascii") as lines:
        for line in lines:
            *pixels, digit = (int(value) for value in line.split(","))
            images.append(([value / 16 for value in pixels] + [1.0], digit))
    return images


def new_layer(rng: random.Random, inputs: int, outputs: int) -> Layer:
    """Small random weights, scaled so that signals neither fade nor grow from layer to layer; biases zero."""
    scale = math.sqrt(2 / inputs)
    return [[rng.gauss(0, scale) for _ in range(inputs)] + [0.0] for _ in range(outputs)]


def forward(hidden: Layer, output: Layer, pixels: Sequence[float]) -> tuple[list[float], list[float]]:
    """The hidden layer's activations (with the constant 1) and the probability of each digit."""
    active = [max(0.0, sum(map(mul, row, pixels))) for row in hidden]
    active.append(1.0)
    scores = [sum(map(mul, row, active)) for row in output]
    top = max(scores)
    odds = [math.exp(score - top) for score in scores]
    total = sum(odds)
    return active, [value / total for value in odds]


def learn(hidden: Layer, output: Layer, image: Image, rate: float) -> float:
    """One step of gradient descent on one image; returns its loss before the step."""
    pixels, digit = image
    active, odds = forward(hidden, output, pixels)
    errors = list(odds)
    errors[digit] -= 1.0
    blame = [sum(map(mul, errors, weights)) for weights in zip(*output, strict=True)]
    for row, error in enumerate(errors):
        output[row] = _moved(output[row], rate * error, active)
    for unit in range(HIDDEN):
        if active[unit] > 0.0:
            hidden[unit] = _moved(hidden[unit], rate * blame[unit], pixels)
    return -math.log(max(odds[digit], 1e-12))


def accuracy(hidden: Layer, output: Layer, images: Sequence[Image]) -> float:
    """The share of images whose most probable digit is the right one."""
    hits = 0
    for pixels, digit in images:
        _, odds = forward(hidden, output, pixels)
        hits += odds.index(max(odds)) == digit
    return hits / len(images)


def split(images: list[Image], rng: random.Random) -> tuple[list[Image], list[Image]]:
    """The held-out images and those to learn from; always the same for the same seed."""
    rng.shuffle(images)
    return images[:HELD_OUT], images[HELD_OUT:]


def train(images: list[Image], *, epochs: int, seed: int) -> tuple[Layer, Layer]:
    """Train on all but the held-out images and print loss and held-out accuracy after each pass."""
    rng = random.Random(seed)
    held_out, training = split(images, rng)
    hidden, output = new_layer(rng, PIXELS, HIDDEN), new_layer(rng, HIDDEN, CLASSES)
    rate = LEARNING_RATE
    print(f"{len(training)} images to learn from, {len(held_out)} held out", flush=True)
    for epoch in range(1, epochs + 1):
        began = time.monotonic()
        rng.shuffle(training)
        loss = sum(learn(hidden, output, image, rate) for image in training) / len(training)
        reached = accuracy(hidden, output, held_out)
        rate *= DECAY
        seconds = time.monotonic() - began
        print(
            f"epoch {epoch:2d}/{epochs}  loss {loss:.4f}  held-out accuracy {reached:6.2%}  {seconds:.2f} s",
            flush=True,
        )
    return _rounded(hidden), _rounded(output)


def evaluate(model: Path, data: Path) -> float:
    """The held-out accuracy of a finished model, measured anew from its weights."""
    content = json.loads(model.read_text(encoding="utf-8"))
    held_out, _ = split(load(data), random.Random(content["seed"]))
    return accuracy(content["hidden"], content["output"], held_out)


def write_model(layers: tuple[Layer, Layer], options: argparse.Namespace) -> Path:
    """Write the model in one piece (a half-written file never looks like a model); returns its path."""
    hidden, output = layers
    content = {
        "data_sha256": hashlib.sha256(options.data.read_bytes()).hexdigest(),
        "epochs": options.epochs,
        "seed": options.seed,
        "hidden": hidden,
        "output": output,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    model = Path(options.out, "model.json")
    unfinished = model.with_suffix(".part")
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    content["accuracy"] = evaluate(unfinished, options.data)
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    unfinished.rename(model)
    print(f"wrote {model}: held-out accuracy {content['accuracy']:.2%}", flush=True)
    return model


def main() -> None:
    """Train a model, or measure one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).with_name("digits.csv.gz"))
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--evaluate", type=Path, metavar="MODEL", help="measure this model instead of training one")
    options = parser.parse_args()
    if options.evaluate:
        print(f"held-out accuracy {evaluate(options.evaluate, options.data):.2%}", flush=True)
    else:
        write_model(train(load(options.data), epochs=options.epochs, seed=options.seed), options)


def _moved(weights: list[float], step: float, signals: Sequence[float]) -> list[float]:
    return [weight - step * signal for weight, signal in zip(weights, signals, strict=True)]


def _rounded(layer: Layer) -> Layer:
    return [[round(weight, 6) for weight in row] for row in layer]


if __name__ == "__main__":
    main()
