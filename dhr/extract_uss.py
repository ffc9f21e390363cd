"""`python -m dhr.extract_uss`: features of every image of a split, from a model trained without labels."""

from omegaconf import DictConfig

from dhr.config.command import verb


@verb("extract_uss")
def main(cfg: DictConfig) -> None:
    """Fills the feature store of one split."""
    # Imported here: --help, --cfg job and a wrong command must not wait for torch.
    from dhr.config.parts import check_signatures
    from dhr.uss.run import extract

    check_signatures(cfg)
    extract(cfg)


if __name__ == "__main__":
    main()
