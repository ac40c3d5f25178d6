# Two images: `api` (no torch) and `worker` (the registry's torch, which carries CUDA), on the same layers up to torch.
#   docker build --target api -t ncore-api .        docker build --target worker -t ncore-worker .
# Packages come before the sources, so that a change of code installs nothing anew. Needs no BuildKit.
ARG BASE=python:3.11.13-slim-bookworm

FROM ${BASE} AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# The project as a wheel; its build needs no package that the images then carry.
FROM base AS wheel
WORKDIR /src
COPY locks/build.lock locks/
RUN pip install --require-hashes --no-deps -r locks/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY ncore ncore
COPY api api
COPY worker worker
COPY migrations migrations
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist .

# What both images have: a user without rights, the folders that are mounted, the packages of the API.
FROM base AS packages
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/ncore --create-home ncore \
 && install -d -o ncore -g ncore /var/lib/ncore/home /var/lib/ncore/data && python -m venv /opt/ncore
# The service's own packages lie within the wheel, and nothing of the current folder is imported in their place.
ENV PYTHONPATH=/opt/ncore/service PYTHONSAFEPATH=1
ENV PATH=/opt/ncore/bin:$PATH NCORE_HOME=/var/lib/ncore/home NCORE_DATA_DIR=/var/lib/ncore/data
COPY locks/api.lock /opt/ncore/
RUN /opt/ncore/bin/pip install --require-hashes --no-deps -r /opt/ncore/api.lock
WORKDIR /var/lib/ncore

FROM packages AS api
COPY --from=wheel /dist /tmp/dist
RUN /opt/ncore/bin/pip install --no-deps --no-index /tmp/dist/*.whl \
 && ln -s "$(python -c 'from ncore.cli.service import service_folder; print(service_folder())')" /opt/ncore/service
USER ncore
EXPOSE 8000
CMD ["uvicorn", "api.app:app", "--host", "0.0.0.0", "--port", "8000", "--no-access-log", "--http", "api.web.sockets:Sockets", "--timeout-graceful-shutdown", "3"]

FROM packages AS worker
COPY locks/worker.lock /opt/ncore/
RUN /opt/ncore/bin/pip install --require-hashes --no-deps -r /opt/ncore/worker.lock
COPY --from=wheel /dist /tmp/dist
RUN /opt/ncore/bin/pip install --no-deps --no-index /tmp/dist/*.whl \
 && ln -s "$(python -c 'from ncore.cli.service import service_folder; print(service_folder())')" /opt/ncore/service
USER ncore
CMD ["ncore", "worker"]
