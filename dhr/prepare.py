"""`python -m dhr.prepare`: brings a data set into the layout that every other command reads."""

from dhr.config.command import Command

main = Command("prepare", "dhr.stage.prepare:prepare")

if __name__ == "__main__":
    main()
