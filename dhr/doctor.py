"""`python -m dhr.doctor`: versions, GPU, optional parts, data and weights found; the command that cures each lack."""

from dhr.config.command import Command

main = Command("doctor", "dhr.stage.doctor:doctor")

if __name__ == "__main__":
    main()
