"""`python -m dhr.predict`: multi-scale masks of a split, made whole by the CRF."""

from omegaconf import DictConfig

from dhr.config.command import verb


@verb("predict")
def main(cfg: DictConfig) -> None:
    """Predicts one split."""
    # Imported here: --help, --cfg job and a wrong command must not wait for torch.
    from dhr.config.parts import check_signatures
    from dhr.prediction import predict

    check_signatures(cfg)
    predict(cfg)


if __name__ == "__main__":
    main()
