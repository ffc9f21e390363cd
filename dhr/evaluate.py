"""`python -m dhr.evaluate`: scores of masks against the truth of a split."""

from omegaconf import DictConfig

from dhr.config.command import verb


@verb("evaluate")
def main(cfg: DictConfig) -> None:
    """Scores one folder of masks."""
    # Imported here: --help, --cfg job and a wrong command must not wait for torch.
    from dhr.evaluation.run import evaluate

    evaluate(cfg)


if __name__ == "__main__":
    main()
