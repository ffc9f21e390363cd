"""`python -m dhr.train_wss`: rough masks of the training images from tags alone."""

from dhr.config.command import Command

main = Command("train_wss", "dhr.stage.train_wss:train_wss")

if __name__ == "__main__":
    main()
