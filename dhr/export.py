"""`python -m dhr.export`: the network of a run as one file for other programs."""

from dhr.config.command import Command

main = Command("export", "dhr.stage.export:export")

if __name__ == "__main__":
    main()
