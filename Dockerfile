# The broker, in a small image: one program, no shell, not root.
#
#   docker build -t sixpin .
#   docker run --rm -p 6616:6616 sixpin --backend memory:

FROM rust:1-slim-trixie AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin sixpin

FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /src/target/release/sixpin /usr/local/bin/sixpin
# Clients reach the broker from outside of its container; administrators reach it only from inside, unless told otherwise.
ENV SIXPIN_SERVE_LISTEN=0.0.0.0:6616
EXPOSE 6616
# Healthy means that the broker answers; whether it has its store is told by the gRPC health service.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["/usr/local/bin/sixpin", "status"]
# SIGTERM drains: clients move to other brokers before this one ends.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/sixpin", "serve"]
