"""`python -m dhr.audit`: what is missing, broken or inconsistent in the data on disk."""

from omegaconf import DictConfig

from dhr.config.command import verb


@verb("audit")
def main(cfg: DictConfig) -> None:
    """Audits one data set."""
    # Imported here: --help, --cfg job and a wrong command must not wait for it.
    from dhr.dataset.audit.run import audit

    audit(cfg)


if __name__ == "__main__":
    main()
