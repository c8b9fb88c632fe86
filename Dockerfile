# The image for a machine with an NVIDIA GPU, of which the host needs only the driver and the NVIDIA Container Toolkit:
# CUDA comes with the wheels of PyTorch.
#
#     docker build -t odenet --build-arg COMMIT="$(git rev-parse HEAD)" .
#     docker run --rm --gpus all -v "$PWD/data:/data" -v "$PWD/runs:/odenet/runs" odenet run depth_refinement gpu
#     docker run --rm --gpus all -v "$PWD/data:/data" -v "$PWD/runs:/odenet/runs" --entrypoint make odenet gpu MINUTES=8
FROM python:3.13-slim

# torch.compile calls a C compiler; make runs the targets of the Makefile.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential git \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /odenet
COPY . .
RUN python -m pip install --no-cache-dir -c constraints.txt -e '.[test]'

# What a record names as its code, because the image has no .git.
ARG COMMIT=""
ENV ODENET_COMMIT=${COMMIT} ODENET_DATA=/data
VOLUME /data

ENTRYPOINT ["odenet"]
CMD ["list"]
