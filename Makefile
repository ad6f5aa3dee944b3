# make test     everything there is to test; from a fresh clone it needs Go only
# make servers  the Kafka queue and the DynamoDB store on real servers, which it starts itself (needs Java and Maven)
# make race     the same under the race detector
# make lint     gofmt, go vet, staticcheck
# make bench    speed, side by side with others, as ratios (a module of its own: bench/)
# make vuln     known vulnerabilities in what is linked (a report)

GO      ?= go
TIMEOUT ?= 15m
TOOL     = $(GO) tool -modfile=tools/go.mod

.PHONY: test lint race unit servers bench vuln

test: lint unit

race:
	$(GO) test -race -timeout $(TIMEOUT) ./...

unit:
	$(GO) test -timeout $(TIMEOUT) ./...

servers:
	$(GO) run ./internal/servers -- $(GO) test -timeout $(TIMEOUT) ./queue/kafka ./store/dynamo ./internal/servers/...

lint:
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "run gofmt -w on the files above"; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...

vuln:
	-$(TOOL) govulncheck ./...

bench:
	cd bench && $(GO) run . $(BENCH)
