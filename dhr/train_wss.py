"""`python -m dhr.train_wss`: rough masks of the training images from tags alone."""

import logging

from omegaconf import DictConfig

from dhr.config.command import verb


@verb("train_wss")
def main(cfg: DictConfig) -> None:
    """Trains one WSS method and writes its masks."""
    # Imported here: --help, --cfg job and a wrong command must not wait for torch.
    from dhr.config.parts import check_signatures
    from dhr.wss.run import make_masks

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # after its import, which sets it to INFO
    check_signatures(cfg)
    make_masks(cfg)


if __name__ == "__main__":
    main()
