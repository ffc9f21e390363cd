"""`python -m dhr.predict`: multi-scale masks of a split, made whole by the CRF."""

from dhr.config.command import Command

main = Command("predict", "dhr.stage.predict:predict")

if __name__ == "__main__":
    main()
