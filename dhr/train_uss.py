"""`python -m dhr.train_uss`: the head of a USS method, trained on images without labels."""

import logging

from omegaconf import DictConfig

from dhr.config.command import verb


@verb("train_uss")
def main(cfg: DictConfig) -> None:
    """Trains one head and evaluates its clusters."""
    # Imported here: --help, --cfg job and a wrong command must not wait for torch.
    from dhr.config.parts import check_signatures
    from dhr.uss.training.run import train_uss

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # after its import, which sets it to INFO
    check_signatures(cfg)
    train_uss(cfg)


if __name__ == "__main__":
    main()
