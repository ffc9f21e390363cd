"""`python -m dhr.extract_uss`: features of every image of a split, from a model trained without labels."""

from dhr.config.command import Command

main = Command("extract_uss", "dhr.stage.extract_uss:extract_uss")

if __name__ == "__main__":
    main()
