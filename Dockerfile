# nnunet_missingmod with nnU-Net, for CPU; for a GPU, torch comes from another index:
#
#   docker build -t nnunet_missingmod .
#   docker build -t nnunet_missingmod --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#
#   docker run --rm nnunet_missingmod info
#   docker run --rm -v "$PWD/data:/data" nnunet_missingmod predict -i /data/in -o /data/out -m /data/results/MODEL
#   docker run --rm --gpus all --ipc=host -v "$PWD/data:/data" --entrypoint nnUNetv2_train nnunet_missingmod \
#       123 3d_fullres 0 -tr nnUNetTrainerModalityDropout
#
# Nothing but /data and /tmp need be writable, and no network is needed:
#
#   docker run --rm --read-only --tmpfs /tmp --network none --user "$(id -u):$(id -g)" -v "$PWD/data:/data" \
#       nnunet_missingmod predict -m /data/MODEL -i /data/in -o /data/out
#
# Without --user, the user in it has number 1000, and /data must be writable for that one.
#
#   apptainer build nnunet_missingmod.sif docker-daemon://nnunet_missingmod:latest
#   apptainer run --nv --bind "$PWD/data:/data" nnunet_missingmod.sif info
#
# docs/howto_clinic.md says what of this has been tried.

FROM python:3.11-slim AS build
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.11-slim
# nnU-Net compiles its networks on a GPU, and torch needs a C compiler for that.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# torch and torchvision from one source: builds that do not match break nnU-Net's class search.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# hadolint ignore=DL3013
RUN pip install --no-cache-dir torch torchvision --index-url "$TORCH_INDEX"
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir /wheels/*.whl \
    && ln -s "$(nnunet_missingmod path)" /nnunet_missingmod

RUN useradd --uid 1000 --create-home user \
    && mkdir -p /data/raw /data/preprocessed /data/results \
    && chown -R user:user /data
# Apptainer shows the user's home in the container, whose Python packages are not for this Python.
ENV nnUNet_extTrainer=/nnunet_missingmod \
    nnUNet_raw=/data/raw \
    nnUNet_preprocessed=/data/preprocessed \
    nnUNet_results=/data/results \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONNOUSERSITE=1
USER 1000
WORKDIR /data
VOLUME /data
ENTRYPOINT ["nnunet_missingmod"]
CMD ["--help"]
