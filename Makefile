# The few commands that people type. Each does its own set-up; only a Rust toolchain, a C compiler and make are needed.

SEEDS ?= 0..2000
SEED ?= 0
STORE ?= net
TIME ?= 30s
BUG ?=
LEDGER ?= target/simulation.ledger
ARGS ?=

.PHONY: run test test-long gate pictures simulate simulate-long simulate-one hunt torture times crowd attack bench fuzz-replay

## Runs a broker in memory on 127.0.0.1:6616.
run:
	cargo run --release --locked -- serve

## Runs the tests, but those that take long. At most 20 minutes on two processors.
test:
	bash scripts/test

## Runs what takes long: real processes under faults on every store, the full range of simulated schedules.
test-long:
	bash scripts/test-long

## What must pass before a change lands.
gate:
	bash .ci/run

## Runs a range of simulated schedules: make simulate SEEDS=0..2000
simulate:
	cargo run --release --locked -p sixpin-simulation -- $(SEEDS)

## The same in parts of 10,000 that are noted in a file, so that it can be stopped and taken up again:
## make simulate-long SEEDS=0..2000000 LEDGER=ledger. Ends with the sums of all that is in the file.
simulate-long:
	cargo run --release --locked -p sixpin-simulation -- $(SEEDS) --ledger $(LEDGER) $(ARGS)

## Prints the trace of one schedule: make simulate-one SEED=42
simulate-one:
	cargo run --release --locked -p sixpin-simulation -- --trace $(SEED) $(ARGS)

## Looks for bugs that are planted in the rules: make hunt, or make hunt BUG=BurialByRead
hunt:
	cargo run --release --locked -p sixpin-simulation -- --hunt $(if $(filter-out 0..2000,$(SEEDS)),$(SEEDS),0..100000) $(if $(BUG),--planted $(BUG))

## Measures lock and unlock pairs against a broker that it starts, as ratios to an empty echo service.
bench:
	cargo run --release --locked -- bench --spawn --floor

## Real brokers on a real store under random load, then the checker: make torture STORE=redis TIME=10m
torture:
	cargo run --release --locked -p sixpin-faults -- torture --store $(STORE) --time $(TIME)

## How long a dead client's lock stays taken, with TTL 10 s and broker_ttl 5 s: make times STORE=etcd
times:
	cargo run --release --locked -p sixpin-faults -- times --store $(STORE)

## Every attack that one client could make on a broker, with 200 honest sessions beside it: make attack TIME=1m
attack:
	cargo run --release --locked -p sixpin-attack -- run --time $(TIME) $(ARGS)

## 100,000 sessions that keep alive at one broker for three minutes. Needs 20,000 open files.
crowd:
	cargo run --release --locked -p sixpin-faults -- sessions

## Draws the pictures of docs/pictures again from their text. Needs Graphviz.
pictures:
	for text in docs/pictures/*.dot; do dot -Tsvg "$$text" -o "$${text%.dot}.svg"; done
