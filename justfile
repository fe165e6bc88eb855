# `just` lists the recipes. Each works in a clean clone with Go; those that say
# so need nginx as well.

set shell := ["bash", "-euo", "pipefail", "-c"]

_default:
    @just --list --unsorted

# Serve on 127.0.0.1:8085 with the static backend and print calls to try.
dev *flags:
    go run . --dev {{flags}}

# Build the binary, static and without machine paths.
build:
    CGO_ENABLED=0 go build -trimpath -o bus-api-provider-vm .

# Build dist/ for linux/amd64: binary, .deb, .tar.gz, SBOM, SHA256SUMS, the same to the byte from the same commit.
package:
    deploy/package

# The same for every system of a release. Its version is that of the tag, which CHANGELOG.md must have a section for.
release:
    deploy/package linux/amd64 linux/arm64 darwin/arm64

# Install, run, upgrade and remove the package on a bare Debian, with the documents' commands; needs root, and gigabytes in /var/tmp.
ship: release
    TMPDIR=/var/tmp CI=true go test -count=1 -timeout 30m -tags ship ./tests/ship/...

# Check the Dockerfile, the compose files and the dashboard with the parsers of BuildKit, compose and Grafana.
containers:
    cd tests/containers && go vet ./... && go mod tidy -diff && CI=true go test -count=1 ./...

# Run all tests.
test:
    go test ./...

# The suites that load the machine run alone. Without the detector run, in `just test` only: the two that measure
# memory, which it multiplies; 500 starts at once, which a store with it refuses; what drives many processes
# (tests/replicas, tests/stack), since the binary with the detector is that of tests/e2e; and the alerts and the
# dashboard, whose subject is another program's rules.
# Run the packages under the race detector, and the end-to-end tests on a binary with it.
race:
    go test -race $(go list ./... | grep -v -e /internal/store -e /tests/e2e -e /tests/faults -e /tests/replicas -e /tests/stack -e /tests/ship)
    # SQLite without the detector, which makes it forty times slower; here alone, since generic code that SQLite shares
    # with other packages is then unseen too. Simulations, on one clock and one goroutine, have no races, and what is
    # about 50,000 rows in the two seconds of a transaction is about time.
    go test -race -gcflags=modernc.org/...=-race=false -skip '^Test(Simulat|ManyParked$)' ./internal/store
    E2E_RACE=1 go test -skip '^Test(AlertsFire|Dashboard|ManyWaitingStarts)$' ./tests/e2e/...

# Drive the real binary on the static backend, through the real nginx.
e2e:
    CI=true go test -count=1 ./tests/e2e/...

# Show events mode at work: Events API, workers, gateway and nginx, until Ctrl-C (-once ends it by itself); needs curl.
stack *flags:
    tests/stack/stack {{flags}}

# Kill gateways, and their PostgreSQL, in seeded runs under random faults; a run is repeated by `just chaos 1 SEED`.
chaos runs="200" seed="1":
    CHAOS_RUNS={{runs}} CHAOS_SEED={{seed}} go test -count=1 -timeout 30m -run '^TestKill$' ./tests/faults
    CHAOS_RUNS={{runs}} CHAOS_SEED={{seed}} go test -count=1 -timeout 60m -run '^TestRandom$' ./tests/replicas
    KEYED_KILLS=300 CHAOS_SEED={{seed}} go test -count=1 -timeout 60m -run '^TestKeysWhileGatewaysAreKilled$' ./tests/replicas

# Drive one gateway for an hour under mixed load and faults: memory, goroutines, files and records stay flat.
soak time="1h":
    SOAK_TIME={{time}} go test -count=1 -v -timeout 3h -run '^TestSoak$' ./tests/faults

# Check format, vet and static analysis, the build for other systems, and that the benchmark's pictures are of its tables.
lint:
    @test -z "$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these files"; exit 1; }
    go vet ./...
    go tool staticcheck ./...
    for GOOS in darwin freebsd; do export GOOS CGO_ENABLED=0; go build -o /dev/null .; go vet . ./internal/...; done
    go vet -tags ship ./tests/ship/...
    go tool staticcheck -tags ship ./tests/ship/...
    go mod tidy -diff
    go mod verify
    cd tests/plots && go vet . && go mod tidy -diff && go test .

# Check the API description, with warnings as errors; needs npm.
openapi-lint:
    REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true npx --yes @redocly/cli@2.77.0 lint --extends recommended-strict routes/openapi.json

# Before Go 1.27, a run that its time ends fails now and then on a busy machine, without an input (go.dev/issue/75804).
# Run each fuzz target for a bounded time, or (`3000x`) on so many inputs.
fuzz time="10s":
    #!/usr/bin/env bash
    set -euo pipefail
    grep -rEo --include='*_test.go' '^func Fuzz[[:alnum:]]+' . | while IFS=: read -r file target; do
        echo "== $file ${target#func }"
        go test "$(dirname "$file")" -run '^$' -fuzz "^${target#func }\$" -fuzztime {{time}} </dev/null
    done

# Measure the gateway beside its peers, six minutes; needs wrk, and haproxy and nginx to compare with.
bench *flags:
    @mkdir -p bin && go build -o bin/bench ./tests/bench
    bin/bench {{flags}}
    @just bench-plots

# The same in a minute and a half, printed only.
bench-quick:
    @just bench -quick

# Draw docs/bench/*.svg from the tables beside them; `just bench` does so at its end.
bench-plots:
    cd tests/plots && go run .

# Measure cost against connections, distinct tokens and writes in flight.
bench-growth *flags:
    @just bench -growth {{flags}}
