"""`python -m dhr.submit`: the archive of masks that the VOC evaluation server takes."""

from dhr.config.command import Command

main = Command("submit", "dhr.stage.submit:submit")

if __name__ == "__main__":
    main()
