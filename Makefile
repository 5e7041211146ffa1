# The verbs of the README. CI calls the same ones.

.PHONY: run run-mq-consumer test test-all lint bench

# The main job. `make run POTLUCK_URL=redis://localhost:6379` runs it over a broker.
run:
	cargo run --quiet --locked --package potluck-cli -- demo

# The consumer service, set up by the environment or .env: see .env.example.
run-mq-consumer:
	cargo run --quiet --locked --package potluck-cli --bin mq-consumer

# Every test, doctests and lints included. Installs what it needs, when it may.
test: lint
	sh tests/install.sh
	CONFORMANCE_REQUIRED=1 cargo test --locked --workspace

# The same at full counts. Takes longer.
test-all:
	sh tests/install.sh
	CONFORMANCE_REQUIRED=1 POTLUCK_FULL=1 cargo test --locked --workspace

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --workspace --no-deps --quiet

bench:
	cargo build --quiet --locked --release --package potluck-bench
	cargo run --quiet --locked --release --package potluck-bench -- envelope
	cargo run --quiet --locked --release --package potluck-bench -- redis
