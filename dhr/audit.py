"""`python -m dhr.audit`: what is missing, broken or inconsistent in the data on disk."""

from dhr.config.command import Command

main = Command("audit", "dhr.stage.audit:audit")

if __name__ == "__main__":
    main()
