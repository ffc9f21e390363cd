"""`python -m dhr.train`: trains a segmentation network on masks that are corrected while it learns."""

import logging

from omegaconf import DictConfig

from dhr.config.command import verb


@verb("train")
def main(cfg: DictConfig) -> None:
    """Trains one run."""
    # Imported here: --help, --cfg job and a wrong command must not wait for torch.
    from dhr.config.parts import check_signatures
    from dhr.training.run import train

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # after its import, which sets it to INFO
    check_signatures(cfg)
    train(cfg)


if __name__ == "__main__":
    main()
