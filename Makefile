# make test     lint, and everything there is to test, on a real Kafka and a DynamoDB Local that it starts (needs Java 17 and Maven)
# make unit     the same tests without servers: those that need one are skipped, and say so. It needs Go only
# make servers  only the packages that stand on servers, on real ones
# make race     what has goroutines, under the race detector, on servers too; RACE names other packages
# make lint     gofmt, go vet, staticcheck
# make fuzz     every fuzz target for FUZZTIME (15s); make test does it too
# make faults   the proofs of docs/faults.md, whose figures it writes anew
# make soak-kills N=10000   so many kills at every step, and from outside; and as many of processes on a Kafka and a DynamoDB
# make soak N=10000         so many histories of the simulator, on all cores
# make bench    speed, side by side with others, as ratios (a module of its own: bench/)
# make vuln     known vulnerabilities in what is linked (a report)
#
# Servers that run already are used: CQRS_KAFKA=host:port CQRS_DYNAMODB=http://host:port make test (internal/servers says more).

GO      ?= go
TIMEOUT ?= 15m
FUZZTIME ?= 15s
N       ?= 10000
TOOL     = $(GO) tool -modfile=tools/go.mod
SERVERS  = $(GO) run ./internal/servers --

.PHONY: test lint race unit servers bench vuln fuzz faults soak soak-kills

test: lint
	$(SERVERS) $(GO) test -timeout $(TIMEOUT) ./...
	@GO=$(GO) .ci/fuzz $(FUZZTIME)

unit:
	$(GO) test -timeout $(TIMEOUT) ./...

servers:
	$(SERVERS) $(GO) test -timeout $(TIMEOUT) ./queue/kafka ./store/dynamo ./internal/servers/...

# Short: the longest tests repeat what shorter ones do, and the detector makes everything 5 to 10 times slower.
# The simulator has no goroutines.
RACE ?= $(filter-out %/sim,$(shell $(GO) list ./...))
race:
	$(SERVERS) $(GO) test -race -short -timeout $(TIMEOUT) $(RACE)

lint:
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "run gofmt -w on the files above"; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...

fuzz:
	@GO=$(GO) .ci/fuzz $(FUZZTIME)

faults:
	@counted=$$(mktemp) && trap 'rm -f "$$counted"' EXIT && \
	CQRS_TEST_FIGURES=$$counted $(GO) test -count 1 -timeout $(TIMEOUT) -run 'TestPowerCuts|TestKilled|Linearizable' . && \
	$(GO) run ./internal/figures docs/faults.md figures < "$$counted" && \
	$(GO) test -count 1 -timeout $(TIMEOUT) -run TestMutantsAreFound ./sim -table "$$counted" && \
	$(GO) run ./internal/figures docs/faults.md mutants < "$$counted"

soak:
	$(GO) test -count 1 -timeout 0 -run TestHistories -v ./sim -histories $(N) -for 0

soak-kills:
	CQRS_TEST_KILLS=$(N) $(GO) test -count 1 -timeout 0 -run TestKilledAtEveryStep .
	CQRS_TEST_KILLS=$(N) $(SERVERS) $(GO) test -count 1 -timeout 0 -run TestWorkersAreKilled -v .

vuln:
	-$(TOOL) govulncheck ./...

# Without Java, and without servers that run already, the lines that need servers are left out.
bench:
	@if command -v java >/dev/null || [ -n "$$CQRS_KAFKA" ]; then $(SERVERS) $(GO) run -C bench . $(BENCH); else $(GO) run -C bench . $(BENCH); fi
