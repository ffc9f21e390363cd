"""`python -m dhr.train_uss`: the head of a USS method, trained on images without labels."""

from dhr.config.command import Command

main = Command("train_uss", "dhr.stage.train_uss:train_uss")

if __name__ == "__main__":
    main()
