"""`python -m dhr.train`: trains a segmentation network on masks that are corrected while it learns."""

from dhr.config.command import Command

main = Command("train", "dhr.stage.train:train")

if __name__ == "__main__":
    main()
