"""A training is one in train mode, whatever was tried with the network before to tell the time."""

from tiny import TRAIN, Tiny

from dhr.disk.weights.state import read_weights


def test_batch_norms_count_every_step_of_a_training(tiny: Tiny) -> None:
    weights = read_weights(tiny.wss / "classifier.safetensors")
    counted = {name: int(value) for name, value in weights.items() if name.endswith("num_batches_tracked")}
    assert counted and {*counted.values()} == {TRAIN // 4}
