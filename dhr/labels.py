"""`python -m dhr.labels`: how good the labels are that several rebalancing options make with one network."""

from omegaconf import DictConfig

from dhr.config.command import verb


@verb("labels")
def main(cfg: DictConfig) -> None:
    """Labels the images of one split by all options, and scores the labels."""
    # Imported here: --help, --cfg job and a wrong command must not wait for torch.
    from dhr.config.parts import check_signatures
    from dhr.training.label_quality import label_quality

    check_signatures(cfg)
    label_quality(cfg)


if __name__ == "__main__":
    main()
