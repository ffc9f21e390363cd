"""`python -m dhr.labels`: how good the labels are that several rebalancing options make with one network."""

from dhr.config.command import Command

main = Command("labels", "dhr.stage.labels:labels")

if __name__ == "__main__":
    main()
