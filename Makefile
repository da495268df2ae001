# The few commands that people type. Each does its own set-up; only a Rust toolchain, a C compiler and make are needed.

SEEDS ?= 0..2000
SEED ?= 0
STORE ?= net
TIME ?= 30s

.PHONY: run test gate simulate simulate-one torture times crowd bench fuzz-replay

## Runs a broker in memory on 127.0.0.1:6616.
run:
	cargo run --release --locked -- serve

## Runs every test.
test:
	bash scripts/test

## What must pass before a change lands.
gate:
	bash .ci/run

## Runs a range of simulated schedules: make simulate SEEDS=0..2000
simulate:
	cargo run --release --locked -p sixpin-simulation -- $(SEEDS)

## Prints the trace of one schedule: make simulate-one SEED=42
simulate-one:
	cargo run --release --locked -p sixpin-simulation -- --trace $(SEED)

## Measures lock and unlock pairs against a broker that it starts, as ratios to an empty echo service.
bench:
	cargo run --release --locked -- bench --spawn --floor

## Real brokers on a real store under random load, then the checker: make torture STORE=redis TIME=10m
torture:
	cargo run --release --locked -p sixpin-faults -- torture --store $(STORE) --time $(TIME)

## How long a dead client's lock stays taken, with TTL 10 s and broker_ttl 5 s: make times STORE=etcd
times:
	cargo run --release --locked -p sixpin-faults -- times --store $(STORE)

## 100,000 sessions that keep alive at one broker for three minutes. Needs 20,000 open files.
crowd:
	cargo run --release --locked -p sixpin-faults -- sessions
