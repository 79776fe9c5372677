# The data exchange agent in a container; docs/DOCKER.md explains how it is built and run.
ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /build
# `--build-arg FEATURES=odbc` adds sources through ODBC, and the driver manager; drivers come in a layer of your own.
# `kerberos` adds logins to SQL Server with Kerberos, and MIT's library; "odbc kerberos" is both.
ARG FEATURES=""
# hadolint ignore=DL3008,SC2086
RUN packages="" && \
    case "${FEATURES}" in *odbc*) packages="unixodbc-dev" ;; esac && \
    case "${FEATURES}" in *kerberos*) packages="${packages} libclang-dev libkrb5-dev pkg-config" ;; esac && \
    if [ -n "${packages}" ]; then apt-get update && \
    apt-get install --yes --no-install-recommends ${packages} && rm -rf /var/lib/apt/lists/*; fi
# The dependencies alone, so that a change of the agent does not compile them again.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/suite && \
    echo 'fn main() {}' > src/main.rs && \
    touch src/lib.rs tests/suite/main.rs && \
    cargo build --profile dist --locked --features "${FEATURES}"
COPY src src
RUN touch src/main.rs src/lib.rs && cargo build --profile dist --locked --features "${FEATURES}"

FROM ${RUNTIME_IMAGE}
ARG FEATURES=""
# envsubst (gettext-base) fills the templates.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends gettext-base && \
    case "${FEATURES}" in *odbc*) apt-get install --yes --no-install-recommends libodbc2 odbcinst ;; esac && \
    case "${FEATURES}" in *kerberos*) apt-get install --yes --no-install-recommends libgssapi-krb5-2 ;; esac && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin && \
    groupadd --gid 10001 agent && \
    useradd --uid 10001 --gid agent --create-home --shell /usr/sbin/nologin agent && \
    mkdir -m 0700 /home/agent/.data_exchange_agent && \
    chown agent:agent /home/agent/.data_exchange_agent
# The authorities of TLS, without the programs of OpenSSL that their package needs.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/dist/data-exchange-agent /usr/local/bin/data-exchange-agent
COPY docker-artifacts /opt/data-exchange-agent
# By number, so that Kubernetes can prove that it is not root.
USER 10001:10001
WORKDIR /home/agent
VOLUME /home/agent/.data_exchange_agent
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["/opt/data-exchange-agent/healthcheck.sh"]
ENTRYPOINT ["/opt/data-exchange-agent/docker-entrypoint.sh"]
