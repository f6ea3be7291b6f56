# The command as an image: docker build --tag gpt-lightning . && docker run --rm --volume "$PWD:/work" gpt-lightning --help
# Another build of torch: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
FROM python:3.13-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY constraints.txt ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH_INDEX" torch
COPY . .
RUN /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[gpt2,hf,parquet,reports,serve,zstd]'

FROM python:3.13-slim
RUN useradd --create-home --uid 1000 trainer && mkdir /work && chown trainer /work
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
USER trainer
WORKDIR /work
ENTRYPOINT ["gpt-lightning"]
CMD ["--help"]
