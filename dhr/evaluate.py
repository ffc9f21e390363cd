"""`python -m dhr.evaluate`: scores of masks against the truth of a split."""

from dhr.config.command import Command

main = Command("evaluate", "dhr.stage.evaluate:evaluate")

if __name__ == "__main__":
    main()
