# The broker, in a small image: one program, no shell, not root.
#
#   docker build -t sixpin .
#
# With TLS and tokens, which `compose/secure` makes into compose/secrets:
#
#   docker run --rm -p 6616:6616 -v "$PWD/compose/secrets/broker:/etc/sixpin:ro" \
#     -e SIXPIN_SERVE_CONFIG=/etc/sixpin/sixpin.toml \
#     -e SIXPIN_CA=/etc/sixpin/ca.pem -e SIXPIN_TOKEN_FILE=/etc/sixpin/operator.token \
#     sixpin --backend memory:
#
# Without, a broker that others reach does not start unless it is told that this is meant. To try it, for this host alone:
#
#   docker run --rm -p 127.0.0.1:6616:6616 -e SIXPIN_SERVE_INSECURE=true sixpin --backend memory:

FROM rust:1-slim-trixie AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin sixpin

FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /src/target/release/sixpin /usr/local/bin/sixpin
# Clients reach the broker from outside of its container; administrators reach it only from inside, unless told otherwise.
ENV SIXPIN_SERVE_LISTEN=0.0.0.0:6616
EXPOSE 6616
# Healthy means that the broker answers; whether it has its store is told by the gRPC health service. Where it has TLS and tokens,
# SIXPIN_CA and SIXPIN_TOKEN_FILE in the container say by what it is trusted and who asks, with a role that may `inspect`
# everything. Its certificate must be for 127.0.0.1 as well, or SIXPIN_ENDPOINTS names what it is for.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["/usr/local/bin/sixpin", "status"]
# SIGTERM drains: clients move to other brokers before this one ends.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/sixpin", "serve"]
