"""`python -m dhr.ground`: masks of an open-vocabulary model that is asked for the names of the classes."""

from dhr.config.command import Command

main = Command("ground", "dhr.stage.ground:ground")

if __name__ == "__main__":
    main()
