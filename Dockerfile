# docker build --tag dhr .
# docker run --rm --gpus all --ipc host --user "$(id -u):$(id -g)" \
#   --volume "$PWD/data:/dhr/data" --volume "$PWD/outputs:/dhr/outputs" --volume "$PWD/weights:/dhr/weights" \
#   dhr dhr.train dataset=voc wss=mars
FROM python:3.12-slim-bookworm
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /dhr
# Libraries first: this layer stays when only code changes.
COPY pyproject.toml constraints.txt Makefile README.md LICENSE ./
RUN make setup && rm -rf /root/.cache
COPY . .
# Caches of libraries go where any user may write.
ENV HOME=/tmp
ENTRYPOINT [".venv/bin/python", "-m"]
CMD ["dhr.doctor"]
