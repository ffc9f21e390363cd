"""`python -m dhr.report`: one page of scores, curves and pictures of a run."""

from dhr.config.command import Command

main = Command("report", "dhr.stage.report:report")

if __name__ == "__main__":
    main()
